// Keeps [data-live] parts of the page fresh. One stream a visible page; a hidden page closes it and only looks now
// and then, so any number of tabs stays below the browser's limit of connections. Without streams: polling.
import { redraw } from "./time.js";

const chip = document.getElementById("live-chip");
const POLL = 5000;
const HIDDEN_POLL = 15000;
const MIN_GAP = 1000;
let source = null;
let address = "";
let failures = 0;
let timer = 0;
let ticker = 0;
let last = 0;
let pending = 0;
let busy = false;

function parts() {
  return [...document.querySelectorAll("[data-live]")].filter((one) => one.dataset.liveUrl);
}

function wanted() {
  const first = parts()[0];
  if (!first) return "";
  const topic = first.dataset.live;
  if (topic === "execution") return `/ui/live/executions/${encodeURIComponent(first.dataset.liveKey)}`;
  return `/ui/live/${topic}`;
}

function say(state, text) {
  if (!chip) return;
  chip.hidden = !state;
  chip.dataset.state = state;
  chip.textContent = text;
}

async function refresh() {
  pending = 0;
  if (busy) return schedule();
  const found = parts();
  if (!found.length) return;
  busy = true;
  last = performance.now();
  try {
    const answer = await fetch(found[0].dataset.liveUrl, { headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const before = document.querySelector("[data-state]")?.dataset.state;
    const open = document.querySelector("[popover]:popover-open");
    for (const one of [...found, document.getElementById("nav")]) {
      if (!one) continue;
      const next = fresh.getElementById(one.id);
      if (!next || (open && one.contains(open))) continue;
      await window.htmx.swap({ sourceElement: one, target: one, text: next.outerHTML, swap: "outerMorph" });
    }
    const head = document.querySelector("[data-title]");
    if (head) document.title = head.dataset.title;
    const now = document.querySelector("[data-state]");
    if (now && before !== now.dataset.state) announce(now.dataset.state, now.dataset.say);
    redraw();
  } finally {
    busy = false;
  }
}

function announce(state, text) {
  if (!/^(SUCCESS|WARNING|FAILED|KILLED|CANCELLED|PAUSED)$/.test(state)) return;
  const said = document.getElementById("said");
  if (said) said.textContent = `Execution: ${text}`;
}

function schedule() {
  if (pending) return;
  pending = setTimeout(refresh, Math.max(0, last + MIN_GAP - performance.now()));
}

function close() {
  source?.close();
  source = null;
  address = "";
  clearTimeout(timer);
  clearInterval(ticker);
}

function open() {
  const next = wanted();
  if (!next) {
    close();
    return say("", "");
  }
  if (document.hidden) return wait(HIDDEN_POLL);
  if (source && address === next) return;
  close();
  address = next;
  source = new EventSource(next);
  source.onopen = () => {
    failures = 0;
    say("live", "Live");
  };
  let first = true;
  source.onmessage = (event) => {
    const kind = event.lastEventId;
    // The first event tells where things stand now: the page may be a moment older.
    if (!first || kind === "end") schedule();
    else if (performance.timeOrigin + performance.now() - loaded > 300) schedule();
    first = false;
    if (kind === "end") {
      close();
      say("", "");
      setTimeout(relive, 2000);
    }
  };
  source.onerror = () => {
    failures += 1;
    say("reconnecting", "Reconnecting");
    close();
    if (failures > 3) return wait(POLL);
    timer = setTimeout(open, Math.min(30000, 1000 * 2 ** failures) * (0.8 + Math.random() * 0.4));
  };
  const tick = Number(parts().find((one) => one.dataset.liveTick)?.dataset.liveTick || 0);
  if (tick) ticker = setInterval(schedule, tick * 1000);
}

/** Look again after a while, without a stream. */
function wait(pause) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    schedule();
    failures = Math.max(0, failures - 1);
    open();
  }, pause);
}

/** After the page changed: open, change or end the stream for what it holds now. */
export function relive() {
  open();
}

const loaded = performance.timeOrigin + performance.now();
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
    if (wanted()) wait(HIDDEN_POLL);
  } else if (wanted()) {
    schedule();
    open();
  }
});
window.addEventListener("pagehide", close);
window.addEventListener("pageshow", (event) => { if (event.persisted) { schedule(); open(); } });
open();
