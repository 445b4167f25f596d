// The live page. An event of the stream only says that there is something new; the rows come from the page itself, so
// they look the same, and none is missed: the newest ones are read again and told apart by their ids.
export function follow({ times, fetched }) {
  const list = document.getElementById("live");
  if (!list) return;
  const state = document.getElementById("live-state"), pause = document.getElementById("pause");
  let stream = null, timer = 0, busy = false, again = false, paused = false, seen = 0;

  async function refresh() {
    if (paused) return;
    if (busy) { again = true; return; }
    busy = true;
    try {
      const page = await fetched(list.dataset.rows);
      const fresh = page.querySelector(".events");
      if (fresh) {
        const known = new Set([...list.querySelectorAll("[data-id]")].map((row) => row.dataset.id));
        const had = known.size > 0;
        for (const row of fresh.querySelectorAll("[data-id]")) if (!known.has(row.dataset.id)) { seen += 1; row.classList.add("new"); }
        times(fresh);
        list.replaceChildren(document.adoptNode(fresh));
        state.textContent = had || seen ? `Following: ${seen} new` : "Following";
      }
    } catch { state.textContent = "The connection is lost: trying again"; }
    busy = false;
    if (again) { again = false; later(); }
  }
  function later() { clearTimeout(timer); timer = setTimeout(refresh, 250); }
  function open() {
    stream = new EventSource(list.dataset.follow);
    stream.onopen = () => { state.textContent = seen ? `Following: ${seen} new` : "Following"; later(); };
    stream.onmessage = later;
    for (const name of ["event", "change", "history", "gap"]) stream.addEventListener(name, later);
    stream.onerror = () => { state.textContent = "The connection is lost: trying again"; if (stream.readyState === EventSource.CLOSED) setTimeout(() => { if (!paused) open(); }, 3000); };
  }
  pause.hidden = false;
  pause.onclick = () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (paused) { stream?.close(); state.textContent = "Paused"; } else { open(); refresh(); }
  };
  addEventListener("pagehide", () => stream?.close());
  open();
}
