"use strict";
(() => {
  const CARD = 400; // the least width of a card, in pixels
  const GAP = 16;
  const CAPTION = 62; // the caption of a card with its two borders
  const PART = 20000; // photos in one list: browsers know no endless heights
  const LINE = 21.75; // the height of a line of text

  const $ = (id) => document.getElementById(id);
  const store = $("photos");
  const photos = JSON.parse(store.textContent);
  const assets = store.dataset.assets;
  store.remove(); // 5,000 photos are a megabyte of text that nobody reads twice
  document.documentElement.classList.add("js");

  const oneSource = Boolean(document.querySelector(".top figure"));
  const radios = [...document.querySelectorAll("input[name=status]")];
  const meanings = Object.fromEntries(radios.map((each) => [each.value, each.dataset.meaning]));
  const list = $("list");

  // Names come from strangers: everything is made as nodes, nothing as markup.
  function make(kind, className, ...children) {
    const node = document.createElement(kind);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }
  const name = (text, className) => {
    const node = make("bdi", className, text);
    node.title = text;
    return node;
  };
  const number = (value) => value.toLocaleString("en");
  const counted = (value) => (value === 1 ? "1 photo" : `${number(value)} photos`);
  const word = (status) => status[0].toUpperCase() + status.slice(1);
  const file = (stem, size) => `${assets}/${stem}-${size}.jpg`;
  function lasted(seconds) {
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  }

  // What is asked for.

  let matches = photos;
  let offset = 0; // of the part of the matches that is shown

  const folded = (text) => text.normalize("NFKC").toLocaleLowerCase();
  const texts = new Array(photos.length);
  function text(index) {
    const photo = photos[index];
    const { name: file, folder, task, request } = photo;
    return (texts[index] ??= folded([file, folder, task, request].join("\n")));
  }

  function chosen() {
    return radios.find((each) => each.checked);
  }

  function filter() {
    const status = chosen().value;
    const wanted = folded($("find").value.trim());
    matches = photos.filter(
      (photo, index) =>
        (status === "all" || photo.status === status) &&
        (!wanted || text(index).includes(wanted)),
    );
    offset = 0;
    $("meaning").textContent = chosen().dataset.meaning;
    $("count").textContent = counted(matches.length);
    $("none").hidden = matches.length > 0;
    renew();
    const top = list.getBoundingClientRect().top + scrollY - $("controls").offsetHeight - 60;
    if (scrollY > top) scrollTo(0, top);
  }

  // The list: only what is near the window exists.

  const cards = new Map(); // from the number in the part to its card
  let columns = 1;
  let width = 0;
  let height = 0;

  const length = () => Math.min(PART, matches.length - offset);

  function measure() {
    const room = list.clientWidth;
    columns = Math.max(1, Math.floor((room + GAP) / (CARD + GAP)));
    width = (room - GAP * (columns - 1)) / columns;
    height = Math.round(width / 2) + CAPTION;
    const rows = Math.ceil(length() / columns);
    list.style.height = `${Math.max(0, rows * (height + GAP) - GAP)}px`;
    const lines = Math.floor((height - CAPTION - 36) / 2 / LINE);
    list.style.setProperty("--lines", Math.max(2, lines));
  }

  function place(card, index) {
    const row = Math.floor(index / columns);
    card.style.left = `${(index % columns) * (width + GAP)}px`;
    card.style.top = `${row * (height + GAP)}px`;
    card.style.width = `${width}px`;
    card.style.height = `${height}px`;
  }

  function render() {
    const top = -list.getBoundingClientRect().top;
    const row = height + GAP;
    const from = Math.max(0, Math.floor((top - innerHeight) / row)) * columns;
    const to = Math.min(length(), Math.ceil((top + 2 * innerHeight) / row) * columns);
    for (const [index, card] of cards) {
      const far = index < from || index >= to;
      if (far && !card.contains(document.activeElement)) {
        card.remove();
        cards.delete(index);
      }
    }
    for (let index = from; index < to; index += 1) if (!cards.has(index)) add(index);
  }

  function add(index) {
    const card = cardOf(matches[offset + index]);
    card.dataset.index = index;
    card.setAttribute("aria-setsize", length());
    card.setAttribute("aria-posinset", index + 1);
    place(card, index);
    // The order in the page is the order of the tab key.
    const after = [...cards.keys()].filter((each) => each > index);
    list.insertBefore(card, after.length ? cards.get(Math.min(...after)) : null);
    cards.set(index, card);
  }

  function renew() {
    for (const card of cards.values()) card.remove();
    cards.clear();
    measure();
    render();
    $("pager").hidden = matches.length <= PART;
    $("part").textContent = `${number(offset + 1)} – ${number(offset + length())} of ${counted(matches.length)}`;
    $("earlier").disabled = offset === 0;
    $("later").disabled = offset + PART >= matches.length;
  }

  function turn(step) {
    offset += step * PART;
    renew();
    $("controls").scrollIntoView();
  }

  // One card.

  function picture(stem, fault, label) {
    const tile = make("span", "tile");
    if (stem) {
      const image = make("img");
      image.loading = "lazy";
      image.decoding = "async";
      image.alt = "";
      image.src = file(stem, "s");
      tile.append(image);
    } else {
      tile.append(make("span", "gone", fault ?? "There is no picture."));
    }
    if (label) tile.append(make("span", "tag", label));
    return tile;
  }

  function why(photo) {
    return make(
      "div",
      "why",
      photo.error && make("p", "error", photo.error),
      photo.next && make("p", "next", photo.next),
      !photo.error && !photo.next ? make("p", "next", meanings[photo.status]) : null,
    );
  }

  function cost(photo) {
    if (photo.paid) return make("span", "cost paid", "May have been paid");
    return make("span", "cost", photo.seconds ? lasted(photo.seconds) : "");
  }

  function cardOf(photo) {
    const alone = !photo.saved;
    const faults = photo.faults ?? {};
    const look = make("button", "look", picture(photo.before, faults.before, alone ? "" : "Before"));
    look.type = "button";
    look.setAttribute("aria-label", `Look at ${photo.name}, ${photo.status}`);
    if (!alone) look.append(picture(photo.after, faults.after, "After"));
    if (!oneSource && photo.face && !alone) {
      const face = make("img", "face");
      face.loading = "lazy";
      face.alt = "";
      face.title = `Source: ${photo.source}`;
      face.src = file(photo.face, "s");
      look.append(face);
    }
    const shot = make("div", "shot", look, alone ? why(photo) : null);
    const caption = make(
      "div",
      "caption",
      name(photo.name, "name"),
      make("span", "state", word(photo.status)),
      name(photo.folder, "where"),
      cost(photo),
    );
    const card = make("article", `card ${photo.status}${alone ? " alone" : ""}`, shot, caption);
    card.setAttribute("role", "listitem");
    return card;
  }

  function reach(index) {
    if (index < 0 || index >= length()) return;
    const top = list.getBoundingClientRect().top + Math.floor(index / columns) * (height + GAP);
    const bar = $("controls").offsetHeight;
    if (top < bar) scrollBy(0, top - bar - GAP);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight + GAP);
    render();
    cards.get(index).querySelector(".look").focus({ preventScroll: true });
  }

  list.addEventListener("click", (event) => {
    const look = event.target.closest(".look");
    if (look) open(offset + Number(look.closest(".card").dataset.index));
  });
  list.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const card = event.target.closest(".card");
    if (!card || !(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    reach(Number(card.dataset.index) + steps[event.key]);
  });
  // The page was moved, and its pictures were not.
  list.addEventListener(
    "error",
    (event) => {
      const says = "Not found: keep the folder .ezlink beside this page.";
      event.target.replaceWith(event.target.className ? "" : make("span", "gone", says));
    },
    true,
  );

  // The large view.

  const view = $("view");
  const frame = $("frame");
  const divider = $("divider");
  let current = 0; // among the matches
  let at = 50; // how much of the width shows what was before, in per cent

  function slide(to) {
    at = Math.min(100, Math.max(0, to));
    frame.style.setProperty("--at", at);
    divider.setAttribute("aria-valuenow", Math.round(at));
    divider.setAttribute("aria-valuetext", `${Math.round(at)} % before`);
  }

  function picturing(image, stem) {
    image.hidden = !stem;
    if (!stem) return image.removeAttribute("src");
    const large = new Image();
    large.src = file(stem, "l");
    image.dataset.stem = stem;
    image.src = file(stem, "s"); // it is here already
    const swap = () => {
      if (image.dataset.stem === stem) image.src = large.src;
    };
    return large.decode().then(swap, () => {});
  }

  function item(list, label, ...content) {
    if (content[0]) list.append(make("dt", "", label), make("dd", "", ...content));
  }

  function link(address, label) {
    const node = make("a", "", name(label));
    node.href = address;
    node.target = "_blank";
    node.rel = "noopener";
    return node;
  }

  function portrait(photo) {
    if (!photo.face) return null;
    const image = make("img", "portrait");
    image.src = file(photo.face, "s");
    image.alt = "";
    return image;
  }

  const code = (text) => text && make("code", "", text);

  function facts(photo) {
    const details = make("dl");
    item(details, "Source", name(photo.source), portrait(photo));
    item(details, "Target", link(photo.original, photo.name), make("div", "where", name(photo.folder)));
    item(details, "Result", photo.result ? link(photo.result, photo.saved) : photo.saved && name(photo.saved));
    item(details, "Prepared", photo.changes?.join(", "));
    item(details, "Time", photo.seconds && lasted(photo.seconds));
    item(details, "Task", code(photo.task));
    item(details, "Request", code(photo.request));
    $("facts").className = `facts ${photo.status}`;
    $("facts").replaceChildren(
      make("p", "state", word(photo.status)),
      photo.error ? make("p", "error", photo.error) : make("p", "meant", meanings[photo.status]),
      ...(photo.next ? [make("p", "next", photo.next)] : []),
      ...(photo.paid ? [make("p", "paid", "This photo may have been paid for.")] : []),
      details,
    );
    $("facts").scrollTop = 0;
  }

  function shape() {
    const image = $("before").hidden ? $("after") : $("before");
    const ratio = image.naturalWidth / image.naturalHeight;
    if (ratio) frame.style.setProperty("--ratio", ratio);
  }

  function show() {
    const photo = matches[current];
    const pair = Boolean(photo.before && photo.after);
    view.querySelector("h2 bdi").textContent = photo.name;
    $("view-place").textContent = `${number(current + 1)} of ${number(matches.length)}`;
    frame.classList.toggle("pair", pair);
    divider.hidden = !pair;
    $("tag-before").hidden = !photo.before;
    $("tag-after").hidden = !photo.after;
    $("gone").hidden = Boolean(photo.before || photo.after);
    $("gone").textContent = photo.faults?.before ?? "";
    if (!photo.before && !photo.after) frame.style.setProperty("--ratio", 1.5);
    picturing($("before"), photo.before);
    picturing($("after"), photo.after);
    slide(50);
    facts(photo);
    for (const near of [matches[current + 1], matches[current - 1]]) {
      for (const stem of near ? [near.before, near.after] : []) {
        if (stem) new Image().src = file(stem, "l");
      }
    }
    $("previous").disabled = current === 0;
    $("next").disabled = current === matches.length - 1;
  }

  function open(index) {
    current = index;
    show();
    view.showModal();
  }

  function go(step) {
    const to = current + step;
    if (to < 0 || to >= matches.length) return;
    current = to;
    show();
  }

  $("before").addEventListener("load", shape);
  $("after").addEventListener("load", shape);
  $("previous").addEventListener("click", () => go(-1));
  $("next").addEventListener("click", () => go(1));
  $("close").addEventListener("click", () => view.close());
  view.addEventListener("close", () => {
    const part = Math.floor(current / PART) * PART;
    if (part !== offset) {
      offset = part;
      renew();
    }
    reach(current - offset);
  });

  const onDivider = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, Home: -100, End: 100 };
  const onPhotos = { PageUp: -1, PageDown: 1, ArrowLeft: -1, ArrowRight: 1 };
  view.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const held = event.target === divider;
    if (held && event.key in onDivider) slide(at + onDivider[event.key] * (event.shiftKey ? 5 : 1));
    else if (event.key in onPhotos && (event.target !== $("facts") || event.key.startsWith("Arrow")))
      go(onPhotos[event.key]);
    else if (event.key.toLowerCase() === "b") slide(at > 50 ? 0 : 100);
    else return;
    event.preventDefault();
  });

  function drag(event) {
    const box = frame.getBoundingClientRect();
    slide(((event.clientX - box.left) / box.width) * 100);
  }
  frame.addEventListener("pointerdown", (event) => {
    if (divider.hidden || event.button) return;
    frame.setPointerCapture(event.pointerId);
    drag(event);
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) drag(event);
  });

  // Everything else.

  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("controls").addEventListener("input", filter);
  $("reset").addEventListener("click", () => {
    $("controls").reset();
    filter();
    chosen().focus();
  });
  $("earlier").addEventListener("click", () => turn(-1));
  $("later").addEventListener("click", () => turn(1));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || view.open || event.target === $("find")) return;
    event.preventDefault();
    $("find").focus();
  });
  $("copy")?.addEventListener("click", async () => {
    const command = $("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
      $("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(command); // a browser that forbids it
    }
  });

  let waiting = false;
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      render();
    });
  }
  addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(() => {
    measure();
    for (const [index, card] of cards) place(card, index);
    render();
  }).observe(list.parentElement);

  filter();
})();
