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

// The names of results that are no pictures, such as videos.
function named(photo) {
  if (!photo.kind || !photo.saved || photo.after || photo.faults?.after) return "";
  return (photo.files ?? [photo]).map((of) => of.saved).join("\n");
}

// What a job has made: its text, several pictures, or one beside the one it was made of.
function tiles(photo, alone) {
  const faults = photo.faults ?? {};
  const before = photo.before || faults.before || !photo.kind;
  const words = photo.text || named(photo);
  if (words) {
    const text = make("span", "tile words", words);
    return before ? [picture(photo.before, faults.before, ""), text] : [text];
  }
  if (alone && !before) return [make("span", "tile words", photo.name)];
  if (alone) return [picture(photo.before, faults.before, "")];
  if (photo.strip) return photo.strip.slice(0, 4).map((stem) => picture(stem, "", ""));
  const after = picture(photo.after, faults.after, before ? "After" : "");
  return before ? [picture(photo.before, faults.before, "Before"), after] : [after];
}

function cardOf(photo) {
  const alone = !photo.saved;
  const look = make("button", "look", ...tiles(photo, alone));
  look.type = "button";
  look.setAttribute("aria-label", `Look at ${photo.name}, ${photo.status}`);
  if (look.childElementCount === 1 && !alone) look.classList.add("single");
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
