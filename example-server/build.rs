//! Extracts Swagger UI, which the documentation page uses, from the archive that
//! `utoipa-swagger-ui-vendored` contains.
//!
//! The archive's files are compressed with DEFLATE, as gzip does, so that the server can send them
//! without decompressing anything here: a gzip file is a header, the compressed data, the checksum and
//! the size, which the archive's directory contains. The crate `utoipa-swagger-ui` compiles a regular
//! expression engine and two compression libraries for this.

use std::path::Path;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for name in FILES {
        let file = find(name).unwrap_or_else(|| panic!("the archive has no dist/{name}"));
        fs::write(Path::new(&out).join(format!("{name}.gz")), file).expect("OUT_DIR is writable");
    }
}

/// Returns `dist/NAME` as a gzip file.
///
/// Layout: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT> and RFC 1952.
fn find(name: &str) -> Option<Vec<u8>> {
    // The record at the end of the archive, which only a comment follows.
    let end = ARCHIVE
        .windows(4)
        .rposition(|bytes| bytes == b"PK\x05\x06")?;
    let mut entry = u32_at(end + 16);
    while ARCHIVE.get(entry..entry + 4)? == b"PK\x01\x02" {
        let (name_len, extra_len, comment_len) =
            (u16_at(entry + 28), u16_at(entry + 30), u16_at(entry + 32));
        let path = str::from_utf8(&ARCHIVE[entry + 46..entry + 46 + name_len]).ok()?;
        // The first folder has the version in its name.
        if path
            .split_once('/')
            .is_some_and(|(_, path)| path == format!("dist/{name}"))
        {
            assert_eq!(u16_at(entry + 10), 8, "{path} is compressed with DEFLATE");
            let header = u32_at(entry + 42);
            let data = header + 30 + u16_at(header + 26) + u16_at(header + 28);
            let compressed = &ARCHIVE[data..data + u32_at(entry + 20)];
            let (checksum, size) = (&ARCHIVE[entry + 16..][..4], &ARCHIVE[entry + 24..][..4]);
            // DEFLATE, no flags, no time, an unknown operating system.
            let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
            return Some([gzip, compressed, checksum, size].concat());
        }
        entry += 46 + name_len + extra_len + comment_len;
    }
    None
}

fn u16_at(at: usize) -> usize {
    u16::from_le_bytes([ARCHIVE[at], ARCHIVE[at + 1]]).into()
}

fn u32_at(at: usize) -> usize {
    u16_at(at) | u16_at(at + 2) << 16
}
