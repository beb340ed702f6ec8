// <lanner-log>: lines stay in the document, so find, select and copy are the browser's own. The tail comes with the
// page; older blocks are fetched while idle, new lines arrive by a stream. Scrolling up stops following.
class LannerLog extends HTMLElement {
  connectedCallback() {
    this.firstId = Number(this.dataset.firstId);
    this.firstNumber = Number(this.dataset.firstNumber);
    this.lastId = Number(this.dataset.lastId);
    this.nextNumber = Number(this.dataset.nextNumber);
    this.most = Number(this.dataset.most);
    this.held = this.nextNumber - this.firstNumber;
    this.following = !location.hash.startsWith("#L") && Boolean(this.dataset.live || !location.hash);
    this.waiting = 0;
    if (this.following) this.toEnd();
    this.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.goTo();
    window.addEventListener("hashchange", this.onHash = () => this.goTo());
    this.older();
    if (this.dataset.live) this.follow();
  }
  disconnectedCallback() {
    this.stream?.close();
    this.gone = true;
    window.removeEventListener("hashchange", this.onHash);
  }
  atEnd() {
    return this.scrollHeight - this.scrollTop - this.clientHeight < 40;
  }
  toEnd() {
    this.scrollTop = this.scrollHeight;
  }
  /** Once a frame: each look at the height has the browser lay out all that is new. */
  toEndSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.following) this.toEnd();
    });
  }
  scrolled() {
    this.following = this.atEnd();
    if (this.following) {
      this.waiting = 0;
      this.button?.remove();
      this.button = null;
    }
  }
  /** Older blocks, one request after the other, while the page has nothing else to do. */
  older() {
    if (this.gone || this.firstNumber <= 1 || this.held >= this.most) return;
    const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
    idle(() => this.fetchOlder().then(() => this.older()), { timeout: 400 });
  }
  async fetchOlder() {
    const url = new URL(this.dataset.older, location.href);
    url.searchParams.set("before", this.firstId);
    url.searchParams.set("number", this.firstNumber);
    const answer = await fetch(url);
    if (!answer.ok) {
      this.most = 0;
      return;
    }
    const first = Number(answer.headers.get("Lanner-First-Number"));
    const id = Number(answer.headers.get("Lanner-First-Id"));
    const html = await answer.text();
    if (!id) {
      this.firstNumber = 1;
      this.querySelector(":scope > .more")?.remove();
      return;
    }
    const fromEnd = this.scrollHeight - this.scrollTop;
    const more = this.querySelector(":scope > .more");
    const holder = document.createElement("template");
    holder.innerHTML = html;
    this.insertBefore(holder.content, more ? more.nextSibling : this.firstChild);
    this.held += this.firstNumber - first;
    this.firstNumber = first;
    this.firstId = id;
    if (first <= 1) more?.remove();
    else if (more) {
      const link = more.querySelector("a");
      const target = new URL(link.href);
      target.searchParams.set("before", id);
      link.href = target;
      link.textContent = `Earlier lines (${(first - 1).toLocaleString("en")})`;
    }
    this.scrollTop = this.following ? this.scrollHeight : this.scrollHeight - fromEnd;
    this.goTo();
  }
  follow() {
    const url = new URL(this.dataset.live, location.href);
    url.searchParams.set("after", this.lastId);
    url.searchParams.set("number", this.nextNumber);
    this.stream = new EventSource(url);
    this.stream.onmessage = (event) => {
      const told = JSON.parse(event.data);
      if (told.end) return this.stream.close();
      this.add(told);
    };
    this.stream.onerror = () => {
      if (this.stream.readyState !== EventSource.CLOSED) return;
      setTimeout(() => { if (!this.gone) this.follow(); }, 5000);
    };
  }
  add(told) {
    if (told.after <= this.lastId) return;
    const holder = document.createElement("template");
    holder.innerHTML = told.html;
    const last = this.querySelector(":scope > ol:last-of-type");
    const fresh = holder.content.querySelector("ol");
    if (last && last.children.length + told.count <= 500 && holder.content.children.length === 1) last.append(...fresh.children);
    else this.append(holder.content);
    this.lastId = told.after;
    this.nextNumber = told.number;
    this.held += told.count;
    document.getElementById("log-empty")?.remove();
    const total = document.getElementById("log-total");
    if (total) total.textContent = (told.number - 1).toLocaleString("en");
    if (this.following) this.toEndSoon();
    else this.tellNew(told.count);
  }
  tellNew(count) {
    this.waiting += count;
    if (!this.button) {
      this.button = document.createElement("div");
      this.button.className = "newlines";
      const inner = document.createElement("button");
      inner.type = "button";
      inner.className = "btn";
      inner.addEventListener("click", () => {
        this.following = true;
        this.toEnd();
        this.scrolled();
      });
      this.button.append(inner);
    }
    this.append(this.button);
    this.button.firstChild.textContent = `↓ ${this.waiting.toLocaleString("en")} new ${this.waiting === 1 ? "line" : "lines"}`;
  }
  /** The line or range of the address: #L120 or #L120-L140. */
  goTo() {
    const found = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash);
    if (!found) return;
    const line = this.querySelector(`#L${found[1]}`);
    if (!line || this.arrived === location.hash) return;
    this.arrived = location.hash;
    this.following = false;
    for (const old of this.querySelectorAll(".hit")) old.classList.remove("hit");
    for (let n = Number(found[1]); n <= Number(found[2] ?? found[1]) && n - found[1] < 5000; n += 1) {
      this.querySelector(`#L${n}`)?.classList.add("hit");
    }
    line.scrollIntoView({ block: "center" });
  }
}
customElements.define("lanner-log", LannerLog);
