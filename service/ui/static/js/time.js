// The only place in the browser that formats times: relative text, ticking durations, the person's zone in titles.
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const FULL = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short", year: "numeric" });

export function relative(date, now = Date.now()) {
  const seconds = (now - date.getTime()) / 1000;
  const far = Math.abs(seconds);
  if (far < 5) return "just now";
  for (const [unit, size, limit] of [["s", 1, 60], ["min", 60, 3600], ["h", 3600, 86400], ["d", 86400, 604800]]) {
    if (far < limit) {
      const amount = Math.floor(far / size);
      return seconds > 0 ? `${amount} ${unit} ago` : `in ${amount} ${unit}`;
    }
  }
  return DAY.format(date);
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const shown = new Set();

class LannerTime extends HTMLElement {
  connectedCallback() {
    shown.add(this);
    this.draw();
  }
  disconnectedCallback() {
    shown.delete(this);
  }
  draw() {
    const time = this.querySelector("time");
    if (!time) return;
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) return;
    const mode = this.dataset.mode;
    const title = `${FULL.format(date)} ${ZONE} · ${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
    if (time.title !== title) time.title = title;
    const text = mode === "ticking" ? duration((Date.now() - date.getTime()) / 1000)
      : mode === "abs" ? FULL.format(date) : relative(date);
    if (time.textContent !== text) time.textContent = text;
  }
}

customElements.define("lanner-time", LannerTime);
const zone = document.getElementById("zone");
if (zone) zone.textContent = ZONE;
setInterval(() => {
  if (document.hidden) return;
  for (const one of shown) one.draw();
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) for (const one of shown) one.draw();
});
export function redraw() {
  for (const one of shown) one.draw();
}
