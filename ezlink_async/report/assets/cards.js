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

const next = (photo) => make("p", "next", make("b", "", "Next: "), photo.next);

function why(photo) {
  return make(
    "div",
    "why",
    photo.error && make("p", "error", photo.error),
    photo.next && next(photo),
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
