// The event stream. Reconnects after a server restart, a suspended computer, or a silent network.

const SILENCE_MS = 6000;
const HIDDEN_MS = 1000;

export class Stream {
  /** `on` has the handlers `history(data)`, `update(data)` and `state("live" | "lost" | "connecting" | "hidden")`. */
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.wait = 500;
    if (!document.hidden) this.open();
    setInterval(() => {
      if (this.source && performance.now() - this.heard > SILENCE_MS) this.reopen();
    }, 1000);
    // Browsers open at most six HTTP/1 connections to a server. A hidden tab must not hold one.
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.hiding);
      if (document.hidden) this.hiding = setTimeout(() => this.hide(), HIDDEN_MS);
      else if (!this.source) this.open();
    });
    addEventListener("pagehide", () => this.hide());
    addEventListener("pageshow", (event) => { if (event.persisted && !this.source) this.open(); });
  }

  open() {
    clearTimeout(this.retry);
    this.heard = performance.now();
    const source = new EventSource(this.url);
    this.source = source;
    const listen = (name) => source.addEventListener(name, (event) => {
      this.heard = performance.now();
      this.wait = 500;
      this.on.state("live");
      this.on[name](JSON.parse(event.data));
    });
    listen("history");
    listen("update");
    source.onerror = () => this.reopen();
  }

  close() {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
  }

  hide() {
    this.close();
    this.on.state("hidden");
  }

  reopen() {
    if (!this.source) return;
    this.close();
    this.on.state("lost");
    this.retry = setTimeout(() => { if (!document.hidden) this.open(); }, this.wait);
    this.wait = Math.min(this.wait * 1.5, 5000);
  }
}
