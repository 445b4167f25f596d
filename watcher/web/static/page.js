// What a page can do with JavaScript: times in the reader's zone, dark and light, copying, and the parts below.
import { documentPage } from "./document.js";
import { follow } from "./live.js";

const kept = (name) => { try { return localStorage.getItem("watcher." + name); } catch { return null; } };
const keep = (name, value) => { try { localStorage.setItem("watcher." + name, value); } catch { /* then it holds for this page */ } };

let local = kept("zone") !== "utc";
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
const two = (number) => String(number).padStart(2, "0");

function written(at, whole) {
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return whole ? `${day} ${time}.${String(at.getMilliseconds()).padStart(3, "0")}` : `${day} ${time}`;
}

/** How long ago a moment was, in words; null: long enough for its date to say more. */
function ago(at) {
  const seconds = (Date.now() - at) / 1000;
  if (seconds < 0 || seconds > 6 * 86400) return null;
  const [count, unit] = seconds < 60 ? [0, "now"] : seconds < 3600 ? [seconds / 60, "min"] : seconds < 86400 ? [seconds / 3600, "h"] : [seconds / 86400, "day"];
  return unit === "now" ? "just now" : `${Math.floor(count)} ${unit}${unit === "day" && count >= 2 ? "s" : ""} ago`;
}

export function times(within) {
  for (const element of within.querySelectorAll("time[datetime]")) {
    element.dataset.utc ??= element.textContent;
    const at = new Date(element.dateTime);
    const usual = /^\d{4}-/.test(element.dateTime) && !Number.isNaN(at.getTime());
    if (!usual || "value" in element.dataset) continue; // values are shown as they are
    const utc = element.dataset.utc, unit = element.dataset.unit;
    if (unit && unit !== "hour") continue; // slices of days and months are those of UTC
    if (!local) { element.textContent = element.classList.contains("short") ? utc.slice(0, 19) : utc; element.title = written(at) + " " + zone; continue; }
    const relative = element.classList.contains("ago") && ago(at);
    if (relative) { element.textContent = relative; element.title = `${written(at, true)} ${zone}\n${utc}`; continue; }
    element.textContent = unit ? written(at).slice(0, 16) : written(at, /\.\d{3} UTC$/.test(utc) && !element.classList.contains("short"));
    element.title = utc;
  }
  const name = document.getElementById("zone-name");
  if (name) name.textContent = local ? zone : "UTC";
}

function switches() {
  const zoneButton = document.getElementById("zone"), themeButton = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const say = (button, what, [now, next]) => {
    button.textContent = `${what}: ${now}`;
    button.setAttribute("aria-label", `${what}: ${now}, switch to ${next}`);
    button.title = `Switch to ${next}`;
  };
  const name = () => {
    say(zoneButton, "Times", local ? ["local", "UTC"] : ["UTC", "local"]);
    say(themeButton, "Theme", dark() ? ["dark", "light"] : ["light", "dark"]);
    document.documentElement.dataset.zone = local ? "local" : "utc";
  };
  zoneButton.hidden = themeButton.hidden = false;
  zoneButton.onclick = () => { local = !local; keep("zone", local ? "local" : "utc"); name(); times(document); dispatchEvent(new Event("watcher-look")); };
  themeButton.onclick = () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    keep("theme", document.documentElement.dataset.theme);
    name();
    dispatchEvent(new Event("watcher-look"));
  };
  name();
}

export function copying(within) {
  for (const button of within.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.onclick = async () => {
      try { await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent); button.textContent = "Copied"; }
      catch { getSelection().selectAllChildren(document.getElementById(button.dataset.copy)); button.textContent = "Selected"; }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    };
  }
}

/** The part of another page of ours that has an id; null if it cannot be had. */
export async function fetched(address, signal) {
  const answer = await fetch(address, { signal, credentials: "same-origin", headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function counting(tries) {
  if (!tries || !document.querySelector(".counting")) return;
  await new Promise((done) => setTimeout(done, 500));
  try {
    const fresh = (await fetched(location.href)).getElementById("collections");
    times(fresh);
    document.getElementById("collections").replaceWith(document.adoptNode(fresh));
  } catch { return; }
  counting(tries - 1);
}

switches();
times(document);
counting(20);
copying(document);
documentPage({ times, copying, fetched });
follow({ times, fetched });
