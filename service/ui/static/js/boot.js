// What every page gets: CSRF header for htmx, theme without a reload, keys, focus, dependent fields.
import { relive } from "./live.js";
import "./time.js";

const token = document.querySelector('meta[name="csrf-token"]')?.content;
document.addEventListener("htmx:config:request", (event) => {
  const headers = event.detail?.ctx?.request?.headers;
  if (token && headers) headers["X-CSRF-Token"] = token;
});
document.addEventListener("htmx:after:swap", () => relive());

// Theme: the cookie decides the first paint, so only the cookie and one attribute change here.
const NEXT = { system: "light", light: "dark", dark: "system" };
const ICONS = { system: "contrast", light: "sun", dark: "moon" };
const button = document.getElementById("theme");
button?.form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const chosen = button.value;
  document.cookie = `lanner_theme=${chosen}; path=/; max-age=31536000; samesite=lax`;
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  button.value = NEXT[chosen];
  button.title = `Theme: ${chosen}`;
  button.setAttribute("aria-label", `Theme: ${chosen}. Switch to ${NEXT[chosen]}`);
  const use = button.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${ICONS[chosen]}`));
});

// Keys: "/" to the filter, j and k through rows, never inside a field.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (event.key === "/") {
    const field = document.querySelector("[data-slash]");
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  } else if (event.key === "j" || event.key === "k") {
    const links = [...document.querySelectorAll("tr[data-row] th a")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    const next = event.key === "j" ? Math.min(at + 1, links.length - 1) : Math.max(at - 1, 0);
    links[next].focus();
    links[next].scrollIntoView({ block: "nearest" });
  }
});

document.querySelector("[data-focus]")?.focus();
if (location.hash === "#rail") history.replaceState(null, "", location.pathname + location.search);

// Execute form: Ctrl-Enter runs, one click is one execution, fields others depend on ask the server.
const form = document.querySelector("form[data-execute]");
if (form) {
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", () => {
    const submit = form.querySelector("[data-submit]");
    setTimeout(() => { submit.disabled = true; }, 0);
    window.addEventListener("pageshow", () => { submit.disabled = false; }, { once: true });
  });
  form.addEventListener("change", async (event) => {
    if (!("dependent" in event.target.dataset)) return;
    const body = new FormData();
    for (const [name, value] of new FormData(form)) if (typeof value === "string") body.append(name, value);
    const answer = await fetch(form.dataset.execute, { method: "POST", body, headers: { "HX-Request": "true" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("fields");
    const old = document.getElementById("fields");
    if (fresh && old) mergeFields(old, fresh);
  });
}

/** Rows that stay keep their element, and with it what was typed or chosen as a file. */
function mergeFields(old, fresh) {
  const kept = new Map([...old.children].map((row) => [row.id, row]));
  const rows = [...fresh.children].map((row) => {
    const before = kept.get(row.id);
    if (!before) return row;
    const sameChoices = row.querySelectorAll("option, input[type=radio], input[type=checkbox]").length ===
      before.querySelectorAll("option, input[type=radio], input[type=checkbox]").length;
    return sameChoices || before.contains(document.activeElement) ? before : row;
  });
  const focused = document.activeElement;
  const wanted = new Set(rows);
  for (const row of [...old.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, index) => { if (old.children[index] !== row) old.insertBefore(row, old.children[index] ?? null); });
  if (focused && focused !== document.activeElement && old.contains(focused)) focused.focus();
}
