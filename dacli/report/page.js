"use strict";
// The grid of inputs, and the view of one. Texts are set as textContent only, so names are never run.
const PER_PAGE = 60;
const report = globalThis.DACLI_REPORT;
const inputs = report ? report.inputs : [];
const $ = (id) => document.getElementById(id);
let found = inputs;
let page = 0;
let open = null; // the input that is shown: {item, values, unknown, width, height, ...}
let cloud = null;
const waiting = new Map(); // id of an input whose file is being loaded -> what to do with it

function make(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function bytes(count) {
  if (count < 1000) return `${count} B`;
  const power = Math.min(3, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** power).toFixed(1)} ${["B", "kB", "MB", "GB"][power]}`;
}

const counted = (count) => (count === 1 ? "1 input" : `${count} inputs`);
const time = (seconds) => new Date(seconds * 1000).toLocaleString();
const network = (item) => (item.encoder === item.model ? item.encoder : `${item.encoder} ${item.model}`).trim();
const unit = (item) => (item.quantity === "metres" ? "m" : item.quantity);
const number = (value) => Number(value.toPrecision(6)).toString();

// ---- the grid ----

function fillSelect(select, values) {
  for (const value of values) select.append(new Option(value, value));
  select.hidden = values.length < 2;
}

function showSummary() {
  const failed = inputs.filter((item) => item.error).length;
  const written = inputs.reduce((sum, item) => sum + item.outputs.reduce((part, output) => part + output[2], 0), 0);
  const times = inputs.filter((item) => item.at).map((item) => item.at);
  const last = times.reduce((one, other) => Math.max(one, other), 0);
  const parts = [counted(inputs.length), `${failed} failed`, `${bytes(written)} of outputs`];
  if (last) parts.push(`last result ${time(last)}`);
  parts.push(`dacli ${report.version}`);
  $("summary").textContent = parts.join(" · ");
  $("settings").replaceChildren(...report.runs.map((run) => {
    const text = JSON.stringify(run.settings, null, 2);
    const block = make("div");
    block.append(make("p", `started ${time(run.at)}${run.root ? `, inputs below ${run.root}` : ""}`), make("pre", text));
    return block;
  }));
  $("runs").hidden = report.runs.length === 0;
}

function filter() {
  const text = $("search").value.toLowerCase();
  const status = $("status").value;
  const model = $("model").value;
  const size = $("size").value;
  found = inputs.filter((item) =>
    item.name.toLowerCase().includes(text) && (!status || (status === "failed") === Boolean(item.error)) &&
    (!model || network(item) === model) && (!size || String(item.size) === size));
  page = 0;
  showPage();
}

function card(item) {
  const link = make("a");
  link.href = `#${item.id}`;
  const figure = make("figure");
  if (item.thumbnail) {
    const image = make("img");
    image.loading = "lazy";
    image.alt = "";
    image.src = `${report.folder}/${item.thumbnail}`;
    figure.append(image);
  } else if (item.clip) {
    const clip = make("video");
    clip.preload = "metadata"; // which shows the first frame
    clip.muted = true;
    clip.src = item.clip;
    figure.append(clip);
  } else {
    figure.append(make("div", item.error ? "failed" : "no picture", "empty"));
  }
  const caption = make("figcaption", item.name);
  if (item.error) caption.append(make("div", item.error, "reason"));
  else caption.append(make("div", [network(item), item.size && `${item.size} px`].filter(Boolean).join(" · "), "soft"));
  figure.append(caption);
  link.append(figure);
  const row = make("li");
  row.append(link);
  return row;
}

function showPage() {
  const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  $("cards").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
  $("found").textContent = found.length === inputs.length ? "" : `${found.length} of ${counted(inputs.length)}`;
  $("page").textContent = `${page + 1} of ${pages}`;
  $("before").disabled = page === 0;
  $("after").disabled = page === pages - 1;
  $("pages").hidden = pages === 1;
}

function turnPage(step) {
  page += step;
  showPage();
  scrollTo(0, 0);
}

// ---- one input ----

function route() {
  const item = inputs.find((each) => each.id === location.hash.slice(1));
  $("grid").hidden = Boolean(item);
  $("view").hidden = !item;
  open = null;
  $("clip").pause();
  if (item) showItem(item);
  document.title = item ? item.name : "Depth report";
}

function step(by) {
  const at = found.findIndex((item) => item.id === location.hash.slice(1));
  const other = at < 0 ? undefined : found[at + by];
  if (other) location.replace(`#${other.id}`);
}

function showItem(item) {
  open = {item};
  scrollTo(0, 0);
  $("name").textContent = item.name;
  $("shown").hidden = true;
  $("fault").hidden = !item.error;
  $("fault").textContent = item.error || "";
  $("previous").disabled = found.indexOf(item) < 1;
  $("next").disabled = found.indexOf(item) < 0 || found.indexOf(item) === found.length - 1;
  $("facts").replaceChildren(...facts(item));
  $("clip").hidden = !item.clip;
  if (item.clip) $("clip").src = item.clip;
  else $("clip").removeAttribute("src");
  if (item.data) load(item);
}

function facts(item) {
  const rows = [];
  const add = (name, value) => {
    if (value === undefined || value === null || value === "") return;
    const cell = make("dd");
    cell.append(value);
    rows.push(make("dt", name), cell);
  };
  const link = (text, target) => {
    const anchor = make("a", text);
    anchor.href = target;
    return anchor;
  };
  add("source", item.source && link(item.source[0], item.source[1]));
  add("source size", item.pixels && `${item.pixels[1]} × ${item.pixels[0]} pixels`);
  add("source bytes", item.bytes > 0 ? bytes(item.bytes) : null);
  add("model", network(item));
  add("network saw", item.network && `${item.network[1]} × ${item.network[0]} pixels`);
  add("values", item.quantity && (item.quantity === "metres" ? "metres" : `${item.quantity}, of no fixed unit`));
  add("range", item.range && `${number(item.range[0])} to ${number(item.range[1])}`);
  add("filters", item.post);
  add("camera", item.camera && `fx ${number(item.camera.fx)} pixels (${item.camera.source})`);
  add("finished", item.at ? time(item.at) : null);
  add("dacli", item.version);
  for (const [kind, target, size] of item.outputs) add(kind, link(bytes(size), target));
  if (item.run !== undefined) {
    const settings = report.runs[item.run].settings;
    add("settings", Object.entries(settings).filter(([, value]) => typeof value !== "object" && value !== "")
      .map(([name, value]) => `${name} ${value}`).join(" · "));
  }
  return rows;
}

// The file of an input calls this: a picture read from disk would not let its pixels be read, a data: address does.
globalThis.dacliInput = (id, data) => {
  const then = waiting.get(id);
  waiting.delete(id);
  if (then) then(data);
};

function load(item) {
  waiting.set(item.id, (data) => decode(item, data));
  const script = make("script");
  script.src = `${report.folder}/${item.data}`;
  script.onload = () => script.remove();
  script.onerror = () => {
    script.remove();
    fail(item, `${item.data} is missing beside this page: make the report again`);
  };
  document.head.append(script);
}

function fail(item, text) {
  if (!open || open.item !== item) return;
  $("fault").hidden = false;
  $("fault").textContent = text;
}

async function decode(item, data) {
  if (data.fault) fail(item, data.fault);
  if (data.depth) await showDepth(item, data);
  else if ((data.drawn || data.picture) && open && open.item === item && !item.clip) await showPicture(item, data);
}

async function pixels(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = make("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function showPicture(item, data) {
  const image = await pixels(data.drawn || data.picture);
  if (!open || open.item !== item) return;
  show(image.width, image.height, data.drawn ? data.picture || "" : "");
  $("depth").getContext("2d").putImageData(image, 0, 0);
  $("tabs").hidden = true;
  for (const element of $("controls").children) element.hidden ||= element.id !== "slide";
}

async function showDepth(item, data) {
  const image = await pixels(data.depth);
  const photo = data.picture ? await pixels(data.picture) : null;
  if (!open || open.item !== item) return;
  const count = image.width * image.height;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const level = image.data[4 * i] * 256 + image.data[4 * i + 1];
    values[i] = image.data[4 * i + 2] ? NaN : data.low + (data.high - data.low) * (level / 65535);
  }
  open = {item, values, photo, width: image.width, height: image.height, step: data.step};
  show(image.width, image.height, data.picture || "");
  setRange(item.range ? item.range[0] : data.low, item.range ? item.range[1] : data.high);
  const own = item.run !== undefined && report.runs[item.run].settings.style;
  if (own && report.colormaps[own.colormap]) $("colormap").value = own.colormap;
  paint();
  showTab($("points").getAttribute("aria-pressed") === "true");
}

function show(width, height, picture) {
  $("depth").width = width;
  $("depth").height = height;
  for (const element of $("controls").children) element.hidden = false;
  $("photo").hidden = $("edge").hidden = $("slide").hidden = !picture;
  if (picture) $("photo").src = picture;
  $("shown").hidden = $("tabs").hidden = $("controls").hidden = false;
  $("stage").hidden = false;
  $("cloud").hidden = true;
  $("value").textContent = "";
  split();
}

function setRange(low, high) {
  $("low").value = number(low);
  $("high").value = number(high);
}

function colorOf() {
  const low = $("low").valueAsNumber;
  const high = $("high").valueAsNumber;
  const rising = open.item.quantity === "inverse depth"; // near has the last color
  return (value) => {
    let share = high > low ? (value - low) / (high - low) : 0;
    share = Math.min(1, Math.max(0, rising ? share : 1 - share));
    return 3 * Math.round(share * 255);
  };
}

function paint() {
  if (!open || !open.values) return;
  const {values, width, height} = open;
  const image = new ImageData(width, height);
  const at = colorOf();
  const table = report.colormaps[$("colormap").value];
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue; // unknown depth stays transparent
    const from = at(values[i]);
    image.data.set(table.subarray(from, from + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  $("depth").getContext("2d").putImageData(image, 0, 0);
  if (!$("cloud").hidden) buildCloud();
}

function middleRange() {
  const known = open.values.filter((value) => !Number.isNaN(value)).sort();
  if (!known.length) return;
  const at = (share) => known[Math.round(share * (known.length - 1))];
  setRange(at(0.02), at(0.98));
  paint();
}

function wholeRange() {
  let low = Infinity;
  let high = -Infinity;
  for (const value of open.values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low <= high) setRange(low, high);
  paint();
}

function split() {
  const share = $("split").value;
  $("photo").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  $("edge").style.left = `${share}%`;
}

function point(event) {
  if (!open) return;
  const box = $("depth").getBoundingClientRect();
  const across = (event.clientX - box.left) / box.width;
  if (event.buttons & 1) {
    $("split").value = Math.min(100, Math.max(0, 100 * across));
    split();
  }
  if (!open.values) return;
  const x = Math.floor(across * open.width);
  const y = Math.floor((event.clientY - box.top) / box.height * open.height);
  if (x < 0 || y < 0 || x >= open.width || y >= open.height) return;
  const value = open.values[y * open.width + x];
  const text = Number.isNaN(value) ? "unknown" : `${number(value)} ${unit(open.item)}`;
  $("value").textContent = `${text} at ${x * open.step}, ${y * open.step}`;
}

// ---- points ----

function buildCloud() {
  const table = report.colormaps[$("colormap").value];
  cloud ||= startCloud($("cloud")); // null without WebGL
  if (cloud) cloud.fill(cloudPoints(open, colorOf(), table));
  else fail(open.item, "this browser has no WebGL, which points need");
}

function showTab(points) {
  $("flat").setAttribute("aria-pressed", String(!points));
  $("points").setAttribute("aria-pressed", String(points));
  $("stage").hidden = points;
  $("cloud").hidden = !points;
  $("slide").hidden = points || $("photo").hidden;
  if (points) buildCloud();
}

// ---- events ----

function onKey(event) {
  const typing = event.target.matches("input, select, #cloud");
  if (event.key === "Escape" && open) location.hash = "";
  else if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  else if (event.key === "ArrowLeft") open ? step(-1) : turnPage(-1);
  else if (event.key === "ArrowRight") open ? step(1) : turnPage(1);
  else return;
  event.preventDefault();
}

function readColormaps() {
  for (const [name, text] of Object.entries(report.colormaps)) {
    report.colormaps[name] = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    $("colormap").append(new Option(name, name));
  }
}

function start() {
  readColormaps();
  fillSelect($("model"), [...new Set(inputs.map(network).filter(Boolean))].sort());
  fillSelect($("size"), [...new Set(inputs.map((item) => item.size).filter(Boolean))].sort((one, other) => one - other));
  showSummary();
  filter();
  for (const id of ["search", "status", "model", "size"]) $(id).addEventListener("input", filter);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("before").addEventListener("click", () => turnPage(-1));
  $("after").addEventListener("click", () => turnPage(1));
  $("close").addEventListener("click", () => { location.hash = ""; });
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("split").addEventListener("input", split);
  for (const id of ["low", "high", "colormap"]) $(id).addEventListener("input", paint);
  $("whole").addEventListener("click", wholeRange);
  $("middle").addEventListener("click", middleRange);
  $("flat").addEventListener("click", () => showTab(false));
  $("points").addEventListener("click", () => showTab(true));
  for (const kind of ["pointermove", "pointerdown"]) $("stage").addEventListener(kind, point);
  addEventListener("keydown", onKey);
  addEventListener("hashchange", route);
  route();
}

if (report) start();
else $("summary").textContent = "The folder with this page's pictures is missing beside it: copy both together.";
