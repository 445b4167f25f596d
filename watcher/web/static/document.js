// The page of a document: stepping through versions without losing one's place, parts that open when they are
// wanted, and who set a value, on hover and on focus.
const PATIENCE_MS = 200; // what takes longer is said to be on its way

export function documentPage({ times, copying, fetched }) {
  let step = null; // the one on its way
  let leave = () => {}; // lets go of what was asked about the version that is shown
  if (document.getElementById("swap")) { ready(document); reveal(document.querySelector(".left")); }
  else parts(document);
  // A browser may keep a page that is left, with all that it still asks for, for when one comes back.
  addEventListener("pagehide", () => {
    const asked = step;
    step = null;
    asked?.aborting.abort();
    if (asked) busy("");
    leave();
  });

  async function go(address, focus, push = true) {
    if (step?.address === address) return; // a key that is held down goes as fast as answers come
    step?.aborting.abort(); // the server need not work out what nobody wants to see any more
    leave();
    const mine = step = { address, aborting: new AbortController() };
    const waiting = setTimeout(() => { if (mine === step) busy("Reading history … Go elsewhere, and it stops."); }, PATIENCE_MS);
    let page;
    try { page = await fetched(address, mine.aborting.signal); } catch { if (mine === step) location.assign(address); return; } finally { clearTimeout(waiting); }
    if (mine !== step) return;
    step = null;
    busy("");
    const fresh = page.getElementById("swap"), old = document.getElementById("swap");
    if (!fresh || !old) { location.assign(address); return; }
    const oldList = old.querySelector(".left"), at = oldList?.scrollTop ?? 0;
    const tree = document.activeElement?.closest?.(".leaf")?.dataset.p;
    old.replaceWith(document.adoptNode(fresh));
    document.title = page.title;
    if (push) history.pushState({ watcher: true }, "", address);
    times(fresh); copying(fresh); ready(document);
    const list = fresh.querySelector(".left");
    const same = list?.querySelector(".versions b")?.textContent === oldList?.querySelector(".versions b")?.textContent;
    if (list) list.scrollTop = same ? at : 0;
    reveal(list);
    const again = (focus && document.getElementById(focus)) || (tree && [...fresh.querySelectorAll(".leaf")].find((leaf) => leaf.dataset.p === tree));
    again?.focus({ preventScroll: true });
  }

  /** Scroll the list of versions, and nothing else, to the chosen one. */
  function reveal(list) {
    const here = list?.querySelector(".here");
    if (!here) return;
    const row = here.getBoundingClientRect(), box = list.getBoundingClientRect();
    if (row.top < box.top || row.bottom > box.bottom) list.scrollTop += row.top - box.top - (box.height - row.height) / 2;
  }

  /** Say that something takes a while; an empty text: it is done. */
  function busy(words) {
    document.getElementById("busy").textContent = words;
    document.getElementById("swap").toggleAttribute("aria-busy", words !== "");
  }

  function ready(within) {
    const swap = document.getElementById("swap"), slider = document.getElementById("slider");
    slider.oninput = () => { slider.setAttribute("aria-valuetext", `version ${slider.value} of ${slider.max}`); swap.querySelector("#chosen").firstChild.textContent = `Version ${slider.value} `; };
    slider.onchange = () => {
      const address = new URL(slider.form.action);
      address.search = new URLSearchParams(new FormData(slider.form)).toString();
      go(address.href, "slider");
    };
    for (const link of swap.querySelectorAll(".versions a, .step[href], .tabs a, .left .pager a")) {
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault();
        go(link.href, link.id);
      });
    }
    parts(within);
    blame(swap.querySelector("[data-blame]"));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.defaultPrevented) return;
    const inside = event.target.closest?.("input, select, textarea, summary, [contenteditable], .scroll, pre");
    if (inside || !document.getElementById("swap")) return;
    const id = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    const link = id && document.getElementById(id);
    if (link) { event.preventDefault(); go(link.href, document.activeElement?.id); }
  });
  addEventListener("popstate", () => { if (document.getElementById("swap")) go(location.href, null, false); });

  /** What was left out is fetched when it is opened. */
  function parts(within) {
    for (const box of within.querySelectorAll("details[data-part]")) {
      box.addEventListener("toggle", async () => {
        if (!box.open || box.dataset.done) return;
        box.dataset.done = "1";
        await put(box.dataset.part, box.querySelector(".lazy"));
      });
    }
    for (const link of within.querySelectorAll("a[data-part]")) {
      link.addEventListener("click", async (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
        event.preventDefault();
        await put(link.dataset.part, link.closest("li"), true);
      });
    }
  }

  async function put(address, place, beside = false) {
    let page;
    try { page = await fetched(address); } catch { location.assign(address); return; }
    const list = page.querySelector("#part .tree > ul");
    if (!list) { location.assign(address); return; }
    times(list);
    const added = document.adoptNode(list);
    parts(added);
    const first = added.querySelector(".leaf, summary");
    if (beside) place.replaceWith(...added.children); else place.replaceWith(added);
    first?.setAttribute("tabindex", first.matches("summary") ? "0" : "-1");
    first?.focus({ preventScroll: true });
  }

  /** Who set the value under the pointer, or the one that has the focus; a click keeps it until another one. */
  function blame(state) {
    const card = document.getElementById("card");
    card.hidden = true;
    leave = () => {};
    if (!state) return;
    let known = null, asking = null, shown = null, kept = null, dismissed = null, waiting = 0;
    const leaves = () => [...state.querySelectorAll(".leaf:not(.del)")];

    async function load() {
      if (known) return known;
      if (!asking) {
        const aborting = new AbortController();
        asking = { aborting, page: fetched(state.dataset.blame, aborting.signal) };
      }
      const page = await asking.page, map = new Map();
      for (const entry of page.querySelectorAll("li[data-p]")) map.set(entry.dataset.p, { setter: page.getElementById(entry.dataset.s), field: entry.dataset.f, line: entry.firstElementChild });
      asking = null;
      return known = map;
    }

    async function show(leaf) {
      if (shown === leaf) return;
      shown?.classList.remove("shown");
      shown = leaf;
      const patience = setTimeout(() => { if (shown === leaf) place(leaf, ["Reading who set it …"]); }, PATIENCE_MS);
      let map;
      try { map = await load(); } catch (error) {
        if (error.name === "AbortError") return;
        asking = null;
        if (shown === leaf) place(leaf, ["Who set it could not be read."]);
        return;
      } finally { clearTimeout(patience); }
      if (shown !== leaf || !leaf.isConnected) return;
      const own = map.get(leaf.dataset.p), groups = own ? [[own.setter, own]] : below(map, leaf.dataset.p);
      const told = groups.filter(([setter]) => setter?.children.length);
      if (told.length) place(leaf, told.flatMap(([setter, said]) => lines(setter, said, !own && told.length > 1))); else hide();
    }

    function lines(setter, said, named) {
      const made = [...setter.childNodes].map((node) => document.importNode(node, true));
      if (named) { const names = document.createElement("b"); names.textContent = said.names.slice(0, 12).join(", "); made.unshift(names); }
      if (said.line) { const line = document.createElement("p"); line.append(document.importNode(said.line, true)); made.push(line); }
      if (said.field) {
        const link = document.createElement("a");
        link.href = said.field;
        link.textContent = "history of this field";
        made.push(link);
      }
      return made;
    }

    /** Show the card where it covers no other field: beside the document, or at the edge of a narrow window. */
    function place(leaf, nodes) {
      card.replaceChildren(...nodes);
      times(card);
      leaf.classList.add("shown");
      card.hidden = false;
      const row = leaf.getBoundingClientRect(), room = state.getBoundingClientRect(), beside = matchMedia("(min-width: 1180px)").matches;
      const most = innerHeight - card.offsetHeight - 8;
      // Positions are set by properties, which the content security policy allows.
      card.style.left = beside ? `${room.right + scrollX - card.offsetWidth}px` : "";
      card.style.top = beside ? `${Math.max(8, Math.min(row.top - 4, most)) + scrollY}px` : row.bottom > most ? "8px" : `${most}px`;
    }

    // A small document on one line: by setter, what is in it. Paths are ASCII, what cannot be seen is escaped in them.
    function below(map, path) {
      const start = path.slice(0, -1) + ",", groups = new Map();
      for (const [key, { setter }] of map) {
        if (!key.startsWith(start)) continue;
        if (!groups.has(setter)) groups.set(setter, { names: [] });
        groups.get(setter).names.push(key.slice(start.length, -1).replaceAll('"', "").replaceAll(",", "."));
      }
      return [...groups];
    }

    /** Show nothing; what nobody waits for any more is not read on. */
    function hide() {
      clearTimeout(waiting);
      shown?.classList.remove("shown");
      shown = kept = null;
      card.hidden = true;
      asking?.aborting.abort();
      asking = null;
    }
    // The pointer still rests on the leaf: the browser tells of it again when the page changes below it.
    leave = () => { dismissed = shown; hide(); };

    const all = leaves();
    all.forEach((leaf, index) => leaf.setAttribute("tabindex", index ? "-1" : "0"));
    state.addEventListener("pointerover", (event) => {
      const leaf = event.target.closest(".leaf:not(.del)");
      clearTimeout(waiting);
      if (leaf !== dismissed) dismissed = null;
      if (leaf && leaf !== dismissed && !kept && event.pointerType !== "touch") waiting = setTimeout(() => show(leaf), 120);
    });
    state.addEventListener("pointerleave", (event) => {
      clearTimeout(waiting);
      dismissed = null;
      if (!card.contains(event.relatedTarget) && !state.contains(document.activeElement)) waiting = setTimeout(() => { if (!card.matches(":hover")) hide(); }, 250);
    });
    state.addEventListener("click", (event) => {
      const leaf = event.target.closest(".leaf:not(.del)");
      if (leaf && !event.target.closest("a")) { leaf.focus(); kept = leaf; dismissed = null; show(leaf); }
    });
    card.onpointerleave = () => { if (!state.contains(document.activeElement)) hide(); };
    state.addEventListener("focusin", (event) => {
      const leaf = event.target.closest(".leaf:not(.del)");
      if (!leaf || leaf !== event.target) return;
      for (const other of state.querySelectorAll('.leaf[tabindex="0"]')) other.setAttribute("tabindex", "-1");
      leaf.setAttribute("tabindex", "0");
      show(leaf);
    });
    state.addEventListener("focusout", () => { kept = null; });
    state.addEventListener("keydown", (event) => {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!event.target.matches(".leaf")) return;
      if (event.key === "Enter" && event.target === shown) { card.querySelector("a")?.click(); return; }
      if (!step) return;
      const now = leaves().filter((leaf) => leaf.offsetParent);
      const next = now[now.indexOf(event.target) + step];
      if (next) { event.preventDefault(); next.setAttribute("tabindex", "-1"); next.focus(); }
    });
  }

  document.addEventListener("keydown", (event) => { if (event.key === "Escape") leave(); });
}
