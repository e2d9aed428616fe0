const CARD = 520; // about the width of a card, in pixels
const GAP = 16;
const CAPTION = 62; // the caption of a card with its two borders
const PART = 20000; // photos in one list: browsers limit the height of a page
const LINE = 21.75; // the height of a line of text

const $ = (id) => document.getElementById(id);
const store = $("photos");
const photos = JSON.parse(store.textContent);
const { assets, noun } = store.dataset;
store.remove(); // 5,000 photos are a megabyte of text, which is parsed now
document.documentElement.classList.add("js");

const oneSource = Boolean(document.querySelector(".top figure"));
const radios = [...document.querySelectorAll("input[name=status]")];
const meanings = Object.fromEntries(radios.map((each) => [each.value, each.dataset.meaning]));
const list = $("list");

// Names come from strangers, so they are inserted as text nodes, never as markup.
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
const counted = (value) => (value === 1 ? `1 ${noun}` : `${number(value)} ${noun}s`);
const word = (status) => status[0].toUpperCase() + status.slice(1);
const file = (stem, size) => `${assets}/${stem}-${size}.jpg`;
function lasted(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

// The filter: which photos match, and which part of them is shown.

let matches = photos;
let offset = 0; // of the part that is shown, among the matches

const folded = (text) => text.normalize("NFKC").toLocaleLowerCase();
const texts = new Array(photos.length);
function text(index) {
  const photo = photos[index];
  const { name: file, folder, task, request, text: words } = photo;
  return (texts[index] ??= folded([file, folder, task, request, words].join("\n")));
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
