//! Clients, which mostly write to sockets directly, because client libraries do not
//! disconnect in the middle of a response.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

/// Behavior of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// Reads the response to its end.
    Reads(&'static str, &'static str),
    /// Disconnects after the request has arrived and before the response.
    DisconnectsBeforeHead(&'static str),
    /// Disconnects during the body.
    DisconnectsDuringBody(&'static str),
    /// Resets the HTTP/2 stream and closes the connection gracefully.
    Resets(&'static str),
    /// Requests a hundred unknown paths.
    Scans,
    /// Sends a hundred unknown methods.
    SendsMethods(&'static str),
}

/// Requests of a scanner.
const SCANS: usize = 100;

impl Client {
    pub(crate) async fn run(
        self,
        server: SocketAddr,
        entered: &mut UnboundedReceiver<()>,
    ) -> io::Result<()> {
        match self {
            Self::Reads(method, path) => read(server, method, path).await,
            Self::DisconnectsBeforeHead(path) => {
                let connection = send(server, "GET", path).await?;
                entered.recv().await;
                drop(connection);
                Ok(())
            }
            Self::DisconnectsDuringBody(path) => {
                let mut connection = send(server, "GET", path).await?;
                let mut read = Vec::new();
                while !body_has_begun(&read) {
                    if connection.read_buf(&mut read).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Ok(())
            }
            Self::Resets(path) => reset(server, path, entered).await,
            Self::Scans => {
                for i in 0..SCANS {
                    read(server, "GET", &format!("/wp-admin/{i}.php")).await?;
                }
                Ok(())
            }
            Self::SendsMethods(path) => {
                for i in 0..SCANS {
                    read(server, &format!("BREW{i}"), path).await?;
                }
                Ok(())
            }
        }
    }
}

async fn send(server: SocketAddr, method: &str, path: &str) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect(server).await?;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    Ok(connection)
}

async fn read(server: SocketAddr, method: &str, path: &str) -> io::Result<()> {
    let mut connection = send(server, method, path).await?;
    connection.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

fn body_has_begun(read: &[u8]) -> bool {
    let head = read.windows(4).position(|window| window == b"\r\n\r\n");
    head.is_some_and(|at| read.len() > at + 4)
}

async fn reset(
    server: SocketAddr,
    path: &str,
    entered: &mut UnboundedReceiver<()>,
) -> io::Result<()> {
    let connection = TokioIo::new(TcpStream::connect(server).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), connection)
            .await
            .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = |path: &str| {
        let uri = format!("http://test{path}");
        Request::get(uri)
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)
    };
    let response = sender.send_request(request(path)?);
    tokio::select! {
        _ = response => return Err(io::Error::other("the server responded")),
        _ = entered.recv() => {}
    }
    // Dropping the response future has reset the stream. The connection closes when
    // its last sender is dropped.
    drop(sender);
    connection.await?.map_err(io::Error::other)
}
