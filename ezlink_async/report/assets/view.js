// The large view.

const view = $("view");
const frame = $("frame");
const divider = $("divider");
let current = 0; // among the matches
let at = 50; // per cent of the width that show the target

function slide(to) {
  at = Math.min(100, Math.max(0, to));
  frame.style.setProperty("--at", at);
  divider.setAttribute("aria-valuenow", Math.round(at));
  divider.setAttribute("aria-valuetext", `${Math.round(at)} % before`);
}

function picturing(image, stem) {
  image.hidden = !stem;
  image.dataset.stem = stem ?? "";
  if (!stem) return image.removeAttribute("src");
  const large = new Image();
  large.src = file(stem, "l");
  image.src = file(stem, "s"); // the list has loaded it
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

const result = (of) => (of.result ? link(of.result, of.saved) : of.saved && name(of.saved));

function strip(stems) {
  if (!stems) return null;
  const row = make("div", "strip");
  for (const stem of stems) {
    const image = make("img");
    image.src = file(stem, "s");
    image.alt = "";
    row.append(image);
  }
  return row;
}

const each = (list, one) => list && make("ul", "", ...list.map((of) => make("li", "", one(of))));

function about(details, photo) {
  if (!photo.kind) {
    item(details, "Source", name(photo.source), portrait(photo));
    item(details, "Target", link(photo.original, photo.name), make("div", "where", name(photo.folder)));
    item(details, "Result", result(photo));
    return;
  }
  item(details, "Kind", name(photo.kind));
  item(details, "Made of", each(photo.inputs, (of) => link(of.address, of.name)), strip(photo.given));
  item(details, photo.files ? "Results" : "Result", each(photo.files, result) ?? result(photo), strip(photo.strip));
}

function facts(photo) {
  const details = make("dl");
  about(details, photo);
  item(details, "Picture of the target", photo.faults?.before);
  item(details, "Picture of the result", photo.faults?.after);
  item(details, "Prepared", photo.changes?.join(", "));
  item(details, "Time", photo.seconds && lasted(photo.seconds));
  item(details, "Task", code(photo.task));
  item(details, "Request", code(photo.request));
  $("facts").className = `facts ${photo.status}`;
  $("facts").replaceChildren(
    make("p", "state", word(photo.status)),
    photo.error ? make("p", "error", photo.error) : make("p", "meant", meanings[photo.status]),
    ...(photo.next ? [next(photo)] : []),
    ...(photo.paid ? [make("p", "paid", `This ${noun} may have been paid for.`)] : []),
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
  $("tag-after").hidden = !photo.after || !photo.before;
  const words = photo.text || (photo.before ? "" : named(photo));
  $("words").hidden = !words;
  $("words").textContent = words;
  $("gone").hidden = Boolean(photo.before || photo.after || words);
  $("gone").textContent = photo.faults?.before ?? "";
  if ((!photo.before && !photo.after) || photo.text) frame.style.setProperty("--ratio", 1.5);
  picturing($("before"), photo.text ? null : photo.before);
  picturing($("after"), photo.after);
  slide(50);
  facts(photo);
  for (const near of [matches[current + 1], matches[current - 1]]) {
    for (const stem of near ? [near.before, near.after] : []) {
      if (stem) new Image().src = file(stem, "l");
    }
  }
  // Not `disabled`: the focus would fall out of the view.
  $("previous").ariaDisabled = String(current === 0);
  $("next").ariaDisabled = String(current === matches.length - 1);
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
