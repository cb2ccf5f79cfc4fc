// The event stream, kept open: across a restart of the server, a sleep of the laptop, a silent net.

const SILENCE_MS = 6000;

export class Stream {
  /** `on`: `history(data)`, `update(data)`, `state("live" | "lost" | "connecting")`. */
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.wait = 500;
    this.open();
    setInterval(() => {
      if (this.source && performance.now() - this.heard > SILENCE_MS) this.reopen();
    }, 1000);
  }

  open() {
    this.heard = performance.now();
    const source = new EventSource(this.url);
    this.source = source;
    const take = (name) => source.addEventListener(name, (event) => {
      this.heard = performance.now();
      this.wait = 500;
      this.on.state("live");
      this.on[name](JSON.parse(event.data));
    });
    take("history");
    take("update");
    source.onerror = () => this.reopen();
  }

  reopen() {
    if (!this.source) return;
    this.source.close();
    this.source = null;
    this.on.state("lost");
    setTimeout(() => this.open(), this.wait);
    this.wait = Math.min(this.wait * 1.5, 5000);
  }
}
