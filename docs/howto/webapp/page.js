"use strict";

const MOST_BYTES = 10 * 1024 * 1024;
const UPLOADS_AT_ONCE = 3; // a browser opens six connections to one server
const TRIES_WITHOUT_ANSWER = 10;
const ENDS = ["done", "failed", "unknown"];
const WORDS = {
  queued: "waiting", sending: "sending", working: "swapping", done: "done",
  failed: "failed", unknown: "not known",
};

const $ = (id) => document.getElementById(id);
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

let album = location.pathname.match(/^\/albums\/([\w-]+)$/)?.[1];
let stream = null;
let running = 0;
const queue = []; // ids of photos that are not uploaded yet
const files = new Map(); // of photos that this page has chosen, by id
const cards = new Map();
const states = new Map();

// One file is sent under one name of its own, so it can be sent again after a lost
// answer: the application knows it, and swaps it once.
const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");

function say(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

/* Choosing */

function pictureOf(file) {
  const image = new Image();
  image.alt = "";
  image.src = URL.createObjectURL(file);
  return image;
}

let face = null;
let chosen = [];

function chooseFace(list) {
  if (!list.length) return;
  [face] = list;
  $("face-shown").src = URL.createObjectURL(face);
  $("face-shown").hidden = false;
  $("face-says").textContent = face.name;
  ready();
}

function choosePhotos(list) {
  if (!list.length) return;
  chosen = [...chosen, ...list];
  ready();
}

function ready() {
  const count = chosen.length;
  const photos = count === 1 ? "1 photo" : `${count} photos`;
  $("photos-say").textContent = count ? `${photos} chosen; add more, or swap` :
    album ? "Drop more here, or choose them" : "Drop any number here, or choose them";
  $("go").textContent = count ? `Swap ${photos}` : "Swap";
  $("go").disabled = !count || !(face || album);
}

function picker(label, input, choose) {
  input.addEventListener("change", () => { choose([...input.files]); input.value = ""; });
  label.addEventListener("dragover", (event) => {
    event.preventDefault();
    label.classList.add("over");
  });
  label.addEventListener("dragleave", () => label.classList.remove("over"));
  label.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    label.classList.remove("over");
    if (!label.classList.contains("fixed")) choose([...event.dataTransfer.files]);
  });
}

/* Sending */

async function send(method, path, file) {
  const headers = {"Content-Type": "application/octet-stream"};
  const answer = await fetch(path, {method, headers, body: file});
  const wait = Number(answer.headers.get("Retry-After"));
  return {ok: answer.ok, wait, body: await answer.json().catch(() => ({}))};
}

async function start(event) {
  event.preventDefault();
  say("");
  $("go").disabled = true;
  try {
    if (!album && !await createAlbum()) return;
  } catch {
    return say("The application cannot be reached. Try again in a moment.");
  } finally {
    ready();
  }
  const photos = chosen;
  chosen = [];
  ready();
  for (const file of photos) {
    const id = newId();
    files.set(id, file);
    if (file.size > MOST_BYTES) {
      show({id, name: file.name, state: "failed", error: "This file is larger than 10 MB."});
    } else {
      show({id, name: file.name, state: "queued"});
      queue.push(id);
    }
  }
  for (let more = UPLOADS_AT_ONCE - running; more > 0; more--) sendQueue();
  if (running) listen();
}

async function createAlbum() {
  const tooLarge = face.size > MOST_BYTES && {error: "It is larger than 10 MB."};
  const {ok, body} = tooLarge ? {body: tooLarge} : await send("POST", "/albums", face);
  if (!ok) {
    say(`The picture of the face cannot be used. ${body.error ?? ""}`);
    return false;
  }
  album = body.id;
  history.replaceState(null, "", `/albums/${album}`);
  showAlbum();
  return true;
}

async function sendQueue() {
  running++;
  while (queue.length) await sendPhoto(queue.shift());
  running--;
}

async function sendPhoto(id) {
  const file = files.get(id);
  const name = file.name.slice(0, 255);
  const path = `/albums/${album}/photos/${id}?name=${encodeURIComponent(name)}`;
  for (let failures = 0; failures < TRIES_WITHOUT_ANSWER;) {
    show({id, name, state: "sending"});
    try {
      const {ok, wait, body} = await send("PUT", path, file);
      if (ok) return show(body);
      // Without words it is not the application that answers, or it is being stopped.
      if (!body.error) throw new Error("no answer");
      if (!wait) return show({id, name, state: "failed", error: body.error, again: true});
      show({id, name, state: "queued", error: `${body.error} It is sent again by itself.`});
      await pause(wait);
    } catch {
      failures++;
      show({id, name, state: "queued", error: "The application does not answer. It is tried again."});
      await pause(Math.min(5, failures));
    }
  }
  show({id, name, state: "failed", error: "The application cannot be reached.", again: true});
}

/* Showing */

function cardOf(id) {
  if (!cards.has(id)) {
    const card = $("card").content.firstElementChild.cloneNode(true);
    card.querySelector(".again").addEventListener("click", () => {
      queue.push(id);
      show({id, name: files.get(id).name, state: "queued"});
      if (running < UPLOADS_AT_ONCE) sendQueue();
      listen();
    });
    $("cards").append(card);
    cards.set(id, card);
  }
  return cards.get(id);
}

function show(photo) {
  const {id, name, state, progress = null, error = "", again = false} = photo;
  const mine = files.has(id);
  if (state === "removed") return mine || drop(id);
  // Old news: the stream may say that a photo is being sent which this page queues.
  if (ENDS.includes(states.get(id)) && !ENDS.includes(state) && !mine) return;
  const card = cardOf(id);
  if (card.dataset.state !== state) showPicture(card, photo, mine);
  states.set(id, state);
  card.dataset.state = state;
  card.querySelector(".name").textContent = name;
  card.querySelector(".name").title = name;
  const known = state === "working" && progress !== null;
  card.querySelector(".status").textContent =
    known ? `${WORDS[state]}, ${Math.round(progress)} %` : WORDS[state];
  const bar = card.querySelector("progress");
  bar.hidden = ENDS.includes(state);
  bar.setAttribute("aria-label", name);
  if (known) bar.value = progress; else bar.removeAttribute("value");
  card.querySelector(".error").textContent = error ?? "";
  card.querySelector(".error").hidden = !error;
  card.querySelector(".again").hidden = !(again && mine);
  sum();
}

function drop(id) {
  cards.get(id)?.remove();
  cards.delete(id);
  states.delete(id);
  sum();
}

function showPicture(card, {id, name, state, error}, mine) {
  const view = card.querySelector(".view");
  const base = `/albums/${album}/photos/${id}`;
  if (state === "done") {
    view.replaceChildren(compare(base, name));
    const save = card.querySelector(".save");
    save.href = `${base}/after`;
    save.download = name.replace(/\.\w+$/, "");
    save.hidden = false;
    save.setAttribute("aria-label", `Save ${name}`);
    const look = card.querySelector(".look");
    look.hidden = false;
    look.setAttribute("aria-label", `Look closely at ${name}`);
    look.onclick = () => showLarge(base, name);
  } else if (!view.firstChild) {
    const image = mine ? pictureOf(files.get(id)) : Object.assign(new Image(), {src: `${base}/before`, alt: ""});
    image.onerror = () => { image.remove(); view.classList.add("bare"); };
    image.onload = () => view.classList.remove("bare");
    view.append(image);
  }
}

function compare(base, name) {
  const box = $("compare").content.firstElementChild.cloneNode(true);
  box.querySelector(".before").src = `${base}/before`;
  const after = box.querySelector(".after");
  after.src = `${base}/after`;
  after.alt = `${name}, after the swap`;
  const slider = box.querySelector("input");
  slider.setAttribute("aria-label", `Before and after of ${name}`);
  slider.addEventListener("input", () => box.style.setProperty("--cut", `${slider.value}%`));
  return box;
}

function showLarge(base, name) {
  $("large-name").textContent = name;
  $("large-view").replaceChildren(compare(base, name));
  $("large").showModal();
  $("large-view").querySelector("input").focus();
}

function sum() {
  const all = [...states.values()];
  const count = (...names) => all.filter((state) => names.includes(state)).length;
  const bad = count("failed", "unknown");
  const photos = all.length === 1 ? "1 photo" : `${all.length} photos`;
  $("sum").textContent = all.length
    ? `${count("done")} of ${photos} done${bad ? `, ${bad} failed` : ""}` : "No photos yet";
  $("all").hidden = !count("done");
  $("album").hidden = !album;
  const ended = all.every((state) => ENDS.includes(state));
  if (ended && !queue.length && all.length) stop();
}

/* Following */

function showAlbum() {
  $("face-shown").src = `/albums/${album}/face`;
  $("face-shown").hidden = false;
  $("face-says").textContent = "of this album";
  $("face-picker").classList.add("fixed");
  $("face").disabled = true;
  $("all").href = `/albums/${album}/all.zip`;
  sum();
  ready();
}

function listen() {
  if (stream) return;
  stream = new EventSource(`/albums/${album}/events`);
  let lost = 0;
  stream.onmessage = (event) => show(JSON.parse(event.data));
  stream.onopen = () => { clearTimeout(lost); say(""); };
  stream.onerror = () => {
    clearTimeout(lost);
    lost = setTimeout(() => say("The connection is lost. The swaps go on; this page connects again by itself."), 3000);
    if (stream?.readyState !== EventSource.CLOSED) return;
    stop();
    setTimeout(open, 3000);
  };
}

function stop() {
  stream?.close();
  stream = null;
}

async function open() {
  try {
    const answer = await fetch(`/albums/${album}/photos`);
    if (answer.status === 404 || answer.status === 422) {
      say("There is no such album, or it has been deleted.");
      return $("form").hidden = true;
    }
    const photos = await answer.json();
    showAlbum();
    photos.forEach(show);
    if (photos.some(({state}) => !ENDS.includes(state))) listen();
  } catch {
    say("The application cannot be reached. This page tries again by itself.");
    setTimeout(open, 3000);
  }
}

picker($("face-picker"), $("face"), chooseFace);
picker($("photos-picker"), $("photos"), choosePhotos);
$("form").addEventListener("submit", start);
$("close").addEventListener("click", () => $("large").close());
// A file that misses both fields must not replace the page.
for (const kind of ["dragover", "drop"]) {
  addEventListener(kind, (event) => event.preventDefault());
}
addEventListener("beforeunload", (event) => {
  const sending = [...files.keys()].some((id) => ["queued", "sending"].includes(states.get(id)));
  if (sending) event.preventDefault(); // the browser asks whether to leave
});
if (album) open();
