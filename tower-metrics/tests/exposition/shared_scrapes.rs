//! Scrapes that share a rendering.

use super::*;

/// Collector that blocks its first collection until it is released, and may panic
/// in its second.
struct BlockingCollector {
    desc: Desc,
    panics: bool,
    collections: Arc<AtomicUsize>,
    entered: mpsc::Sender<()>,
    go: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Collector for BlockingCollector {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        match self.collections.fetch_add(1, Ordering::Relaxed) {
            0 => {
                self.entered.send(()).unwrap();
                self.go.lock().unwrap().recv().unwrap();
            }
            1 if self.panics => panic!("a collector panics on purpose"),
            _ => {}
        }
        Vec::new()
    }
}

/// Starts scrapes while a first one is blocked, releases it, and returns the results
/// and the number of renderings.
fn scrape_concurrently(others: usize, panics: bool) -> (Vec<std::thread::Result<String>>, usize) {
    let (entered, has_entered) = mpsc::channel();
    let (release, go) = mpsc::channel();
    let prometheus = Prometheus::new();
    let desc = Desc::new("blocking".into(), "Blocks.".into(), vec![], HashMap::new());
    let collections = Arc::new(AtomicUsize::new(0));
    let blocking = BlockingCollector {
        desc: desc.unwrap(),
        panics,
        collections: Arc::clone(&collections),
        entered,
        go: std::sync::Mutex::new(go),
    };
    prometheus.registry().register(Box::new(blocking)).unwrap();
    let render = move || prometheus.exposition().render(Format::Text);

    let first = std::thread::spawn(render);
    has_entered.recv().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let waiting: Vec<_> = (0..others)
        .map(|_| {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || {
                asked.fetch_add(1, Ordering::Relaxed);
                render()
            })
        })
        .collect();
    while asked.load(Ordering::Relaxed) < others {
        std::thread::yield_now();
    }
    // By now they are almost certainly waiting for the first one.
    for _ in 0..1000 {
        std::thread::yield_now();
    }
    release.send(()).unwrap();
    let texts = std::iter::once(first).chain(waiting);
    let texts = texts.map(|scrape| scrape.join()).collect();
    (texts, collections.load(Ordering::Relaxed))
}

#[test]
fn a_panicking_collector_fails_one_scrape_only() {
    let (texts, _) = scrape_concurrently(3, true);
    assert_eq!(texts.iter().filter(|text| text.is_err()).count(), 1);
    for text in texts.into_iter().flatten() {
        assert!(text.contains("tower_metrics_series"), "{text:?}");
    }
}

#[test]
fn scrapes_that_wait_for_the_same_rendering_share_the_next() {
    let (texts, renderings) = scrape_concurrently(20, false);
    for text in texts {
        assert!(text.unwrap().contains("tower_metrics_series"));
    }
    // The first one and a shared one, or a few more for threads that started late.
    assert!((2..10).contains(&renderings), "{renderings} renderings");
}
