// The list: only the cards near the window exist.

const cards = new Map(); // from the index in the part to its card
let columns = 1;
let width = 0;
let height = 0;

const length = () => Math.min(PART, matches.length - offset);

function measure() {
  const room = list.clientWidth;
  columns = Math.max(1, Math.round(room / CARD));
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
// The page was moved without its thumbnails.
list.addEventListener(
  "error",
  (event) => {
    const says = "Not found: keep the folder .ezlink beside this page.";
    event.target.replaceWith(event.target.className ? "" : make("span", "gone", says));
  },
  true,
);

// Two very wide pictures are larger when one stands above the other.
list.addEventListener(
  "load",
  ({ target }) => {
    const wide = target.naturalWidth > 2 * target.naturalHeight;
    if (wide && !target.className) target.closest(".card:not(.alone) .look")?.classList.add("wide");
  },
  true,
);
