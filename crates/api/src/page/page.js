// The page of a node: it asks for the fork tree once, then for what changes, and draws the moment that the slider stands at.
//
// Everything that changes comes with its history, as steps with the number of the change. So the state at a moment is a lookup: the
// last step that is not after it.
"use strict";

const $ = (id) => document.getElementById(id);

/** An element: its class, its text or children, and attributes. */
function make(tag, cls, content, attributes = {}) {
  const element = document.createElement(tag);
  if (cls) element.className = cls;
  for (const child of content === undefined ? [] : [content].flat()) element.append(child);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const short = (id) => id.slice(id.indexOf(":") + 1, id.indexOf(":") + 9);
const plural = (count, one, many = one + "s") => `${count} ${count === 1 ? one : many}`;

// What is known.

const known = {
  run: "", seq: 0, first: 0, status: null,
  blocks: new Map(), bundles: new Map(), settlements: new Map(), forks: new Map(), reorgs: new Map(),
  /** The numbers of all changes, ascending. */
  steps: [],
};

/** Where the slider stands: an index into the steps, or the present. */
const shown = { live: true, index: 0, playing: false, selected: null, follow: true, open: new Set() };

/** The number of the change that is shown. */
const moment = () => (shown.live ? Infinity : known.steps[shown.index] ?? 0);

/** The state at a moment, by a history. */
function at(history, seq) {
  let state = null;
  for (const step of history) {
    if (step.seq > seq) break;
    state = step.state;
  }
  return state;
}

const STEPS_MAX = 50000;

function note(...histories) {
  if (known.steps.length > STEPS_MAX) forget();
  const last = known.steps.at(-1) ?? 0;
  const fresh = histories.flat().map((step) => step.seq).filter((seq) => seq > last);
  for (const seq of [...new Set(fresh)].sort((a, b) => a - b)) known.steps.push(seq);
}

/** Drops the steps of what is no longer kept. */
function forget() {
  const kept = [...known.blocks.values()].flatMap(historyOf.block).flat().map((step) => step.seq);
  const oldest = kept.reduce((least, seq) => Math.min(least, seq), Infinity);
  const gone = Math.min(indexOf(oldest), known.steps.length - 1);
  known.steps = known.steps.slice(gone);
  shown.index = Math.max(0, shown.index - gone);
  for (const seq of known.reorgs.keys()) if (seq < oldest) known.reorgs.delete(seq);
}

const take = {
  block(block) {
    const before = known.blocks.get(block.hash);
    known.blocks.set(block.hash, block);
    if (!before || heightOf(before) !== heightOf(block) || isWide(before) !== isWide(block)) layout.stale = true;
  },
  fork(fork) { known.forks.set(fork.id, fork); layout.stale = true; },
  reorg(reorg) { known.reorgs.set(reorg.seq, reorg); },
  bundle(bundle) { known.bundles.set(`${bundle.end} ${bundle.statement}`, bundle); },
  settlement(settlement) { known.settlements.set(`${settlement.carrier} ${settlement.statement}`, settlement); },
  status(status) {
    known.status = status;
    known.run = status.run;
    known.seq = status.seq;
    if (status.first <= known.first) return;
    known.first = status.first;
    for (const [hash, block] of known.blocks) if (block.checkpoint < known.first) known.blocks.delete(hash);
    for (const [key, bundle] of known.bundles) if (bundle.end < known.first) known.bundles.delete(key);
    for (const [key, it] of known.settlements) if (it.carrier_checkpoint < known.first) known.settlements.delete(key);
    layout.stale = true;
  },
};

const historyOf = {
  block: (block) => [block.standing, ...block.statements.map((placed) => placed.history)],
  bundle: (bundle) => [bundle.history],
  settlement: (settlement) => [settlement.standing],
};

// The connection.

const token = () => sessionStorage.getItem("token");

function ask(path, options = {}) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  return fetch(path, { headers, cache: "no-store", ...options });
}

async function data(path) {
  const answer = await ask(path);
  if (answer.status === 401) throw { login: true };
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer.json();
}

async function everything(path) {
  const items = [];
  for (let next = null; ;) {
    const page = await data(`${path}?limit=500${next ? `&after=${encodeURIComponent(next)}` : ""}`);
    items.push(...page.items);
    next = page.next;
    if (!next) return items;
  }
}

async function load() {
  for (const map of [known.blocks, known.bundles, known.settlements, known.forks, known.reorgs]) map.clear();
  Object.assign(known, { steps: [], first: 0 });
  const chain = await data("/v1/chain");
  const [bundles, settlements, status] = await Promise.all([everything("/v1/bundles"), everything("/v1/settlements"), data("/v1/status")]);
  chain.forks.forEach(take.fork);
  chain.blocks.forEach(take.block);
  chain.reorgs.forEach(take.reorg);
  bundles.forEach(take.bundle);
  settlements.forEach(take.settlement);
  take.status(status);
  // What changed after the chain was read is told again by the stream.
  known.seq = chain.seq;
  note(...chain.blocks.flatMap(historyOf.block), ...bundles.flatMap(historyOf.bundle), ...settlements.flatMap(historyOf.settlement));
  draw();
}

/** Follows the changes until the connection ends. */
async function follow() {
  const answer = await ask(`/v1/events?since=${known.run}-${known.seq}`);
  if (!answer.ok) throw new Error((await answer.json()).detail);
  linked(true);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    const steps = [];
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
      if (fields.event === "reset") return await load();
      const thing = fields.data && take[fields.event] ? JSON.parse(fields.data) : null;
      if (!thing) continue;
      take[fields.event](thing);
      if (historyOf[fields.event]) steps.push(...historyOf[fields.event](thing));
    }
    note(...steps);
    draw();
  }
}

function linked(yes) {
  const ended = known.status?.ended;
  $("link").className = yes && !ended ? "live" : yes ? "" : "away";
  const read = known.status?.read_ms;
  const over = read ? `as of ${new Date(read).toLocaleTimeString()}` : "the run has ended";
  $("link").textContent = yes ? (ended ? over : "live") : "no connection to the node; trying again";
}

async function run() {
  for (let wait = 500, first = true; ; wait = Math.min(wait * 2, 10000)) {
    try {
      await load();
      $("login").hidden = true;
      if (first) begin();
      first = false;
      wait = 500;
      for (;;) await follow();
    } catch (error) {
      if (error?.login) {
        $("login").hidden = false;
        linked(false);
        $("link").textContent = token() ? "this is not the token" : "";
        $("token").focus();
        return;
      }
      linked(false);
    }
    await new Promise((later) => setTimeout(later, wait));
  }
}

/** What ended before anybody looked is replayed once. */
function begin() {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches || new URLSearchParams(location.search).has("still");
  if (known.status.ended && known.steps.length > 2 && !still) play(true);
}

// Where things are.

const WIDE = 112, GAP = 8, DOT = 24, FOLD = 92, HEAD = 38, CHIP = 26, TOP = 24;
/** So many silent blocks in a row are drawn as one. */
const FOLD_MIN = 5;
const layout = { stale: true, columns: [], x: new Map(), row: new Map(), rows: [], width: 0, height: 0, byColumn: new Map(), children: new Map(), fold: new Map() };

const isWide = (block) => !block.empty || block.statements.length > 0;

/** A block's statements by kind, the outermost first; of each kind those in one state together. */
function kinds(statements) {
  const kinds = new Map();
  for (const { placed, state } of statements) {
    if (!kinds.has(placed.kind)) kinds.set(placed.kind, new Map());
    const states = kinds.get(placed.kind);
    states.set(state, (states.get(state) ?? 0) + 1);
  }
  return [...kinds].sort(([a], [b]) => KINDS.indexOf(a) - KINDS.indexOf(b)).map(([kind, states]) => ({ kind, states: [...states] }));
}

function heightAt(block, statements) {
  if (!isWide(block)) return DOT;
  const lines = Math.max(1, new Set(statements.map((placed) => placed.kind)).size + (block.settlements.length ? 1 : 0) + (block.statements_omitted ? 1 : 0));
  return HEAD + lines * CHIP;
}

/** As high as it ever is: its row has room for that, so that no row moves while time does. */
const heightOf = (block) => heightAt(block, block.statements);

/** Whether nothing of a block is worth a place of its own: it is silent, and the chain goes straight through it. */
function isSilent(block) {
  if (isWide(block) || block.settlements.length) return false;
  const children = layout.children.get(block.hash) ?? [], parent = known.blocks.get(block.parent);
  return children.length === 1 && children[0].fork === block.fork && parent?.fork === block.fork;
}

/** Long runs of columns in which all is silent, on the same forks. One that was opened, or holds what is selected, stays open. */
function runs(columns) {
  const runs = [];
  let run = [], forks = "";
  const end = () => {
    const open = run.length && (shown.open.has(run[0]) || run.includes(known.blocks.get(shown.selected)?.checkpoint));
    if (open) shown.open.add(run[0]);
    if (run.length >= FOLD_MIN && !open) runs.push(run);
    run = [];
  };
  for (const [checkpoint, blocks] of columns) {
    const silent = blocks.every(isSilent), here = silent ? blocks.map((block) => block.fork).sort().join() : "";
    if (!silent || here !== forks) end();
    forks = here;
    if (silent) run.push(checkpoint);
  }
  end();
  return runs;
}

function place() {
  layout.stale = false;
  layout.byColumn = Map.groupBy([...known.blocks.values()].sort((a, b) => a.checkpoint - b.checkpoint), (block) => block.checkpoint);
  layout.children = Map.groupBy(known.blocks.values(), (block) => block.parent);
  layout.fold = new Map(runs(layout.byColumn).flatMap((run) => run.map((checkpoint) => [checkpoint, run])));
  layout.columns = [];
  layout.x.clear();
  let x = GAP;
  for (const [checkpoint, blocks] of layout.byColumn) {
    const run = layout.fold.get(checkpoint);
    if (run && run[0] !== checkpoint) {
      layout.x.set(checkpoint, layout.x.get(run[0]));
      continue;
    }
    const width = run ? FOLD : blocks.some(isWide) ? WIDE : DOT;
    layout.x.set(checkpoint, { x, width });
    layout.columns.push({ checkpoint, x, width, run });
    x += width + GAP;
  }
  layout.width = x;
  // A fork lies in the first row that is free over its length.
  const free = [];
  layout.row.clear();
  for (const fork of [...known.forks.values()].sort((a, b) => a.id - b.id)) {
    let row = free.findIndex((until) => until < fork.from - 1);
    if (row < 0) row = free.push(-1) - 1;
    free[row] = fork.to;
    layout.row.set(fork.id, row);
  }
  const heights = free.map(() => DOT);
  for (const block of known.blocks.values()) {
    const row = layout.row.get(block.fork) ?? 0;
    heights[row] = Math.max(heights[row] ?? DOT, heightOf(block));
  }
  let y = TOP;
  layout.rows = heights.map((height) => {
    const row = { y, height };
    y += height + TOP + 14;
    return row;
  });
  layout.height = y;
}

/** Where a block is at a moment. */
function box(block, seq = moment()) {
  const { x, width } = layout.x.get(block.checkpoint);
  const row = layout.rows[layout.row.get(block.fork) ?? 0];
  const wide = isWide(block);
  const height = heightAt(block, statementsAt(block, seq).map(({ placed }) => placed)), own = wide || layout.fold.has(block.checkpoint) ? width : DOT;
  return { x: x + (width - own) / 2, y: row.y + HEAD / 2 - (wide ? HEAD / 2 : DOT / 2), width: own, height, line: row.y + HEAD / 2 };
}

// Drawing.

let pending = false;
function draw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; paint(); });
}

const drawn = new Map();
const KINDS = ["aggregate", "batch", "transaction"];
const WORDS = { waiting: "waiting", proving: "proving", storing: "storing", proved: "proved", reused: "reused", failed: "failed", dropped: "not needed" };
const SIGNS = { waiting: "○", proving: "◔", storing: "◕", proved: "✓", reused: "↺", failed: "✕", dropped: "–" };
const BUNDLE = { wanted: "to be proved", proved: "proved", submitted: "sent to the L1", settled: "settled", withdrawn: "withdrawn" };

let first = true;
function paint() {
  if (!known.status) return;
  if (layout.stale) place();
  const seq = moment();
  $("nothing").hidden = known.blocks.size > 0;
  paintHeader(seq);
  paintTime(seq);
  paintTree(seq);
  paintShort(seq);
  paintBlock(seq);
  paintSettle(seq);
  paintDevices();
  paintSavings();
  paintHealth();
  if (first && known.blocks.size) performance.mark("first-tree");
  first &&= !known.blocks.size;
}

const canonicalAt = (block, seq) => at(block.standing, seq);

/** How often a block had come back. */
const returnsAt = (block, seq) => block.standing.filter((step, index) => index > 0 && step.state && step.seq <= seq).length;

function paintTree(seq) {
  const tree = $("tree"), canvas = $("canvas");
  const bundlesY = layout.height + 4;
  canvas.style.width = `${layout.width}px`;
  canvas.style.height = `${bundlesY + 62}px`;
  if (shown.follow) reveal(shown.live && known.status.ended ? lastBusyAt(seq) ?? tipAt(seq) : tipAt(seq), true);
  const from = tree.scrollLeft - 400, to = tree.scrollLeft + tree.clientWidth + 400;
  const visible = layout.columns.filter((column) => column.x + column.width >= from && column.x <= to);
  const keep = new Set(), edges = [];
  for (const { checkpoint, run } of visible) {
    if (run) paintRun(run, seq).forEach((key) => keep.add(key));
    for (const block of layout.byColumn.get(checkpoint)) {
      const canonical = canonicalAt(block, seq);
      if (canonical === null) continue;
      if (!run) {
        keep.add(block.hash);
        paintNode(block, canonical, seq);
      }
      const parent = known.blocks.get(block.parent);
      if (parent) edges.push(edge(box(parent, seq), box(block, seq), canonical && canonicalAt(parent, seq)));
    }
  }
  for (const [hash, { element }] of drawn) {
    if (keep.has(hash)) continue;
    element.remove();
    drawn.delete(hash);
  }
  const svg = $("edges");
  svg.setAttribute("width", layout.width);
  svg.setAttribute("height", layout.height);
  // Canonical ones lie above.
  edges.sort((a, b) => a.canonical - b.canonical);
  svg.replaceChildren(...edges.map(({ path, canonical }) => {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    line.setAttribute("d", path);
    if (canonical) line.setAttribute("class", "canonical");
    return line;
  }));
  paintBand(seq, bundlesY, from, to);
}

function edge(a, b, canonical) {
  const from = a.x + a.width;
  // A fork leaves its parent downwards, or upwards.
  const middle = a.x + a.width / 2, down = b.line > a.line, start = down ? a.y + a.height : a.y, bend = down ? b.line - 12 : b.line + 12;
  const path = a.line === b.line ? `M${from} ${a.line}H${b.x}` : `M${middle} ${start}V${bend}Q${middle} ${b.line} ${middle + 12} ${b.line}H${b.x}`;
  return { path, canonical: Boolean(canonical) };
}

function statementsAt(block, seq) {
  return block.statements.map((placed) => ({ placed, state: at(placed.history, seq) })).filter(({ state }) => state !== null);
}

function paintNode(block, canonical, seq) {
  const returns = returnsAt(block, seq);
  const statements = statementsAt(block, seq);
  const pressed = shown.selected === block.hash;
  const { x, y, width, height } = box(block, seq);
  const look = [canonical, returns, pressed, x, y, width, height, shown.selected === null && tipAt(seq) === block, ...statements.map(({ state }) => state)].join();
  const before = drawn.get(block.hash);
  if (before?.look === look) return;
  const element = before?.element ?? make("button", "", [], { type: "button", "data-hash": block.hash });
  const wide = isWide(block), carries = block.settlements.length > 0;
  element.className = ["block", canonical ? "canonical" : "orphaned", wide ? "" : "empty", !wide && carries ? "settled" : "", canonical && returns ? "back" : ""].join(" ").replace(/ +/g, " ").trim();
  element.setAttribute("aria-pressed", String(pressed));
  element.tabIndex = pressed || (!shown.selected && block.hash === tipAt(seq)?.hash) ? 0 : -1;
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  // What is read aloud is what is written, and words for what is drawn.
  const words = [canonical ? "canonical" : "orphaned", ...(returns ? [`came back ${plural(returns, "time")}`] : []), ...(wide ? [] : ["empty"]), ...(!wide && carries ? ["carries a settlement"] : [])];
  const spoken = make("span", "spoken", ` ${words.join(", ")} `);
  if (wide) {
    const mark = !canonical ? "orphaned" : returns ? "↩ back" + (returns > 1 ? ` ${returns}×` : "") : "";
    const head = make("span", "head", [make("span", "spoken", "block "), make("b", "", String(block.checkpoint)), spoken, make("i", canonical ? "back-mark" : "", mark, { "aria-hidden": "true" })]);
    const chips = kinds(statements).map(line);
    if (block.statements_omitted) chips.push(make("span", "more", `and ${block.statements_omitted} more`));
    if (carries) chips.push(make("span", "chip settled", "⚑ settlement"));
    element.replaceChildren(head, ...chips);
  } else {
    element.replaceChildren(make("span", "spoken", "block "), String(block.checkpoint % 1000), spoken);
  }
  element.title = `block ${block.checkpoint}: ${words.join(", ")}`;
  if (!before) $("blocks").append(element);
  drawn.set(block.hash, { element, look });
}

/** The silent blocks of a run, by fork: those in a row that stand alike are one. Returns what they are drawn as. */
function paintRun(run, seq) {
  const forks = Map.groupBy(run.flatMap((checkpoint) => layout.byColumn.get(checkpoint)), (block) => block.fork);
  const keys = [];
  for (const blocks of forks.values()) {
    const parts = [];
    for (const block of blocks) {
      const canonical = canonicalAt(block, seq), returns = canonical === null ? 0 : returnsAt(block, seq);
      const last = parts.at(-1);
      if (canonical === null) continue;
      if (last && last.canonical === canonical && last.returns === returns) last.blocks.push(block);
      else parts.push({ canonical, returns, blocks: [block] });
    }
    const { x, y, width, height } = box(blocks[0], seq);
    const all = parts.reduce((sum, part) => sum + part.blocks.length, 0);
    let before = 0;
    for (const part of parts) {
      const share = (width * part.blocks.length) / all;
      keys.push(paintPart(part, { x: x + before, y, width: share, height }));
      before += share;
    }
  }
  return keys;
}

function paintPart({ canonical, returns, blocks }, { x, y, width, height }) {
  const [first, last] = [blocks[0], blocks.at(-1)], key = `run ${first.hash}`;
  const look = [canonical, returns, blocks.length, last.hash, x, y, width].join();
  const before = drawn.get(key);
  if (before?.look === look) return key;
  const element = before?.element ?? make("button", "", [], { type: "button", "data-run": first.hash, tabindex: "-1" });
  element.className = ["block", "run", canonical ? "canonical" : "orphaned", canonical && returns ? "back" : ""].join(" ").trim();
  Object.assign(element.style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
  const words = `${plural(blocks.length, "empty block")}, ${first.checkpoint} to ${last.checkpoint}, ${canonical ? "canonical" : "orphaned"}${returns ? `, came back ${plural(returns, "time")}` : ""}`;
  element.replaceChildren(make("span", "", width < 70 ? String(blocks.length) : `${blocks.length} empty`, { "aria-hidden": "true" }), make("span", "spoken", `${words}: show them`));
  element.title = words;
  element.dataset.hashes = blocks.map((block) => block.hash).join(" ");
  if (!before) $("blocks").append(element);
  drawn.set(key, { element, look });
  return key;
}

/** The statements of a kind: a chip for each state, with words where it is the only one. */
function line({ kind, states }) {
  const alone = states.length === 1;
  return make("span", "line", states.map(([state, count], index) => {
    const shape = make("span", `shape ${kind}`, undefined, { "aria-hidden": "true" });
    const spoken = make("span", "spoken", `${plural(count, kind, kind === "batch" ? "batches" : kind + "s")} `);
    const many = count > 1 || !alone ? [make("span", "count", String(count), { "aria-hidden": "true" })] : [];
    const word = make("span", "word", [make("span", "", SIGNS[state]), make("span", alone ? "" : "spoken", ` ${WORDS[state]}`)]);
    const chip = make("span", `chip ${state}${alone ? "" : " part"}`, [shape, ...many, spoken, word]);
    if (index) shape.classList.add("again");
    return chip;
  }));
}

function bundlesAt(seq) {
  const all = [...known.bundles.values()].map((bundle) => ({ bundle, state: at(bundle.history, seq) }));
  return all.filter(({ state }) => state !== null);
}

function paintBand(seq, y, from, to) {
  const label = make("div", "band", make("span", "", "bundles, settled together"));
  label.style.top = `${y}px`;
  const bars = bundlesAt(seq).filter(({ state }) => state !== "withdrawn").map(({ bundle, state }) => {
    const start = layout.x.get(bundle.start), end = layout.x.get(bundle.end);
    if (!end || end.x + end.width < from || (start?.x ?? 0) > to) return null;
    const x = start?.x ?? 0;
    const bar = make("div", `bundle ${state}`, `${bundle.start}–${bundle.end} ${BUNDLE[state]}`);
    bar.title = bar.textContent;
    Object.assign(bar.style, { left: `${x}px`, width: `${end.x + end.width - x}px`, top: `${y + 24}px` });
    return bar;
  });
  const branches = [...known.forks.values()].map((fork) => {
    const column = layout.x.get(Math.max(fork.from, known.first)), row = layout.rows[layout.row.get(fork.id)];
    const begun = (layout.byColumn.get(fork.from) ?? []).some((block) => block.fork === fork.id && canonicalAt(block, seq) !== null);
    if (!column || !row || !begun || column.x > to || column.x < from) return null;
    const name = make("span", "branch", `fork ${fork.id}`);
    Object.assign(name.style, { left: `${column.x}px`, top: `${row.y - 18}px` });
    return name;
  });
  $("bundles").replaceChildren(label, ...[...bars, ...branches].filter(Boolean));
}

/** The canonical block that is highest at a moment. */
function tipAt(seq) {
  for (let index = layout.columns.length - 1; index >= 0; index--) {
    const tip = layout.byColumn.get(layout.columns[index].checkpoint).find((block) => canonicalAt(block, seq));
    if (tip) return tip;
  }
  return null;
}

/** The highest canonical block at a moment that has something to prove: where a run that has ended is worth a look. */
function lastBusyAt(seq) {
  const busy = (block) => isWide(block) && canonicalAt(block, seq);
  return layout.columns.flatMap(({ checkpoint }) => layout.byColumn.get(checkpoint)).findLast(busy);
}

/** Scrolls so that a block is in sight; that of the moment, with what led to it. */
function reveal(block, follow = false) {
  if (!block) return;
  const tree = $("tree"), { x, width } = box(block);
  const left = tree.scrollLeft, sight = tree.clientWidth, right = x + width + 2 * GAP;
  if (follow) tree.scrollLeft = Math.max(0, right - sight * 0.85);
  else if (right > left + sight) tree.scrollLeft = right - sight;
  else if (x - GAP < left) tree.scrollLeft = x - 2 * GAP;
}

function paintHeader(seq) {
  const { l1, backend, health, version } = known.status;
  const tip = tipAt(seq), settled = [...known.settlements.values()].filter((it) => it.end_checkpoint !== null && at(it.standing, seq)).map((it) => it.end_checkpoint);
  const finalBlocks = [...known.blocks.values()].filter((block) => block.final_since !== null && block.final_since <= seq);
  $("source").textContent = `${l1} · ${backend}`;
  const fact = (name, value) => make("div", "", [make("dt", "", name), make("dd", "", String(value))]);
  $("facts").replaceChildren(fact("tip", tip?.checkpoint ?? "–"), fact("settled up to", settled.length ? Math.max(...settled) : "–"), fact("final up to", finalBlocks.length ? finalBlocks.reduce((high, block) => Math.max(high, block.checkpoint), 0) : "–"));
  $("health").className = health.level;
  $("health").textContent = health.level === "green" ? "healthy" : health.level;
  $("version").textContent = `Reprise ${version}`;
  if ($("link").className !== "away") linked(true);
  document.title = `${tip?.checkpoint ?? "–"} · ${health.level === "green" ? "" : health.level + " · "}Reprise`;
}

function paintShort(seq) {
  let made = 0, reused = 0;
  const proofs = new Map();
  for (const block of known.blocks.values()) {
    for (const placed of block.statements) {
      for (const step of placed.history) {
        if (step.seq > seq) break;
        if (step.state === "proved") {
          made += 1;
          proofs.set(placed.statement, (proofs.get(placed.statement) ?? 0) + 1);
        } else if (step.state === "reused") {
          reused += 1;
        }
      }
    }
  }
  $("made").textContent = made;
  $("reused").textContent = reused;
  $("twice").textContent = [...proofs.values()].filter((count) => count > 1).length;
  const last = [...known.reorgs.values()].filter((reorg) => reorg.seq <= seq).at(-1);
  $("story").classList.toggle("flip", Boolean(last?.returning));
  $("story").textContent = story(last);
}

function story(reorg) {
  if (!reorg) return known.blocks.size ? "One chain so far: each block's transactions are proved once." : "";
  const { removed, added, returning, point } = reorg;
  if (!returning) {
    return `Reorg after block ${point}: ${plural(removed, "block")} left the chain, ${added} took their place. What was proved for them is kept.`;
  }
  return `Flip back after block ${point}: ${plural(returning, "block")} came back, and stored proofs answered for them. Nothing was proved twice.`;
}

// Time.

function paintTime(seq) {
  const slider = $("slider"), last = Math.max(known.steps.length - 1, 0);
  slider.max = last;
  if (shown.live) shown.index = last;
  slider.value = shown.index;
  const name = nameOf(seq);
  slider.setAttribute("aria-valuetext", `change ${shown.index + 1} of ${last + 1}${shown.live ? ", now" : ""}`);
  $("moment").textContent = shown.live ? "now" : `${shown.index + 1} of ${last + 1}${name}`;
  $("now").setAttribute("aria-pressed", String(shown.live));
  $("play-text").textContent = shown.playing ? "Pause" : "Play";
  $("play").firstElementChild.textContent = shown.playing ? "⏸" : "▶";
  const reorgs = [...known.reorgs.values()].filter((reorg) => reorg.seq >= (known.steps[0] ?? 0));
  $("marks").replaceChildren(...reorgs.map((reorg) => {
    const mark = make("i", reorg.returning ? "flip" : "");
    mark.style.left = `${(100 * indexOf(reorg.seq)) / Math.max(last, 1)}%`;
    return mark;
  }));
}

/** What a change was, where it was a reorg. */
function nameOf(seq) {
  const reorg = known.reorgs.get(seq);
  return reorg ? (reorg.returning ? " · flip back" : " · reorg") : "";
}

/** The index of the first step at or after a number. */
function indexOf(seq) {
  let low = 0, high = known.steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (known.steps[middle] < seq) low = middle + 1;
    else high = middle;
  }
  return Math.min(low, Math.max(known.steps.length - 1, 0));
}

function go(index) {
  shown.live = false;
  shown.follow = true;
  shown.index = Math.max(0, Math.min(index, known.steps.length - 1));
  draw();
}

let timer = 0;
function play(from) {
  clearTimeout(timer);
  shown.playing = true;
  if (from || shown.live || shown.index >= known.steps.length - 1) go(0);
  const next = () => {
    if (!shown.playing) return;
    if (shown.index >= known.steps.length - 1) return pause(true);
    go(shown.index + 1);
    const pace = Math.max(25, Math.min(400, 14000 / known.steps.length));
    timer = setTimeout(next, known.reorgs.has(known.steps[shown.index]) ? pace + 900 : pace);
  };
  timer = setTimeout(next, 300);
  draw();
}

function pause(live = false) {
  clearTimeout(timer);
  shown.playing = false;
  if (live) Object.assign(shown, { live: true, follow: true });
  draw();
}

function toReorg(direction) {
  const here = shown.index;
  const indexes = [...known.reorgs.keys()].map(indexOf).sort((a, b) => a - b);
  const next = direction > 0 ? indexes.find((index) => index > here) : indexes.filter((index) => index < here).at(-1);
  pause();
  go(next ?? (direction > 0 ? known.steps.length - 1 : 0));
}

// Panels.

let panels = {};
/** Draws a panel where it looks different. */
function panel(id, look, content) {
  const key = JSON.stringify(look);
  if (panels[id] === key) return;
  panels[id] = key;
  $(id).replaceChildren(...[content()].flat());
}

const cells = (tag, values) => make("tr", "", values.map((value) => (value instanceof Node && value.tagName === "TD" ? value : make(tag, typeof value === "number" ? "num" : "", value instanceof Node ? value : String(value)))));
function table(caption, heads, rows) {
  return make("table", "", [make("thead", "", make("tr", "", heads.map((head) => make("th", head.startsWith("#") ? "num" : "", head.replace("#", ""), { scope: "col" })))), make("tbody", "", rows)], { "aria-label": caption });
}
const number = (text) => make("td", "num", text);
const pairs = (entries) => make("dl", "pairs", entries.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
const pill = (state, word) => make("span", `pill ${state}`, word);

function paintBlock(seq) {
  const block = known.blocks.get(shown.selected) ?? tipAt(seq);
  if (!block) return panel("block", null, () => make("p", "quiet", "Choose a block in the tree."));
  const canonical = canonicalAt(block, seq), returns = returnsAt(block, seq), statements = statementsAt(block, seq);
  panel("block", [shown.selected, block.hash, canonical, returns, block.final, statements.map(({ state, placed }) => [state, placed.seconds])], () => {
    $("block-title").textContent = `Block ${block.checkpoint}${shown.selected ? "" : " (tip)"}`;
    const standing = canonical === null ? "not there yet" : canonical ? (block.final ? "canonical, final" : "canonical") : "orphaned: its proofs are kept";
    const details = pairs([
      ["hash", make("code", "", block.hash.slice(4))],
      ["standing", standing + (returns ? `, came back ${plural(returns, "time")}` : "")],
      ["blue score", String(block.blue_score)],
      ["lane transactions", String(block.transactions)],
    ]);
    if (!statements.length) return [details, make("p", "quiet", block.empty ? "Nothing of the lane: there is nothing to prove." : "Nothing is wanted of it on its own.")];
    const rows = statements.map(({ placed, state }) => cells("td", [make("code", "", short(placed.statement)), placed.kind, pill(state, `${SIGNS[state]} ${WORDS[state]}`), number(placed.seconds === null || state !== "proved" ? "" : `${placed.seconds.toFixed(1)} s`)]));
    return [details, table("Statements", ["statement", "kind", "state", "#proved in"], rows)];
  });
}

function paintSettle(seq) {
  const bundles = bundlesAt(seq).sort((a, b) => b.bundle.end - a.bundle.end || b.bundle.changed - a.bundle.changed);
  const tip = tipAt(seq)?.checkpoint ?? 0;
  const carriers = new Map();
  for (const it of known.settlements.values()) if (at(it.standing, seq)) carriers.set(it.statement, it);
  const rows = bundles.slice(0, 100).map(({ bundle, state }) => {
    const carrier = carriers.get(bundle.statement);
    return [bundle, state, carrier, carrier ? tip - carrier.carrier_checkpoint + 1 : 0];
  });
  panel("settle", rows.map(([bundle, state, carrier, depth]) => [bundle.statement, bundle.end, state, carrier?.carrier, depth, carrier?.final]), () => {
    if (!rows.length) return make("p", "quiet", "No bundle is closed yet.");
    return table("Bundles", ["blocks", "state", "carried by", "#confirmations"], rows.map(([bundle, state, carrier, depth]) => {
      const cls = state === "withdrawn" ? "dropped" : state;
      return cells("td", [`${bundle.start}–${bundle.end}`, pill(cls, BUNDLE[state]), carrier ? `block ${carrier.carrier_checkpoint}` : "–", number(carrier ? String(depth) + (carrier.final ? ", final" : "") : "–")]);
    }));
  });
}

function paintDevices() {
  const { devices, queue } = known.status;
  panel("devices", [devices, queue], () => {
    const word = { idle: ["waiting", "idle"], proving: ["proving", "proving"], suspended: ["failed", "suspended"] };
    const rows = devices.map((device) => cells("td", [String(device.device), pill(word[device.state][0], word[device.state][1]), device.kind ?? (device.failure && device.state === "suspended" ? device.failure : "–"), number(String(device.proofs)), number(String(device.failures)), number(`${device.busy_seconds.toFixed(1)} s`)]));
    const proving = queue.proving ? `${plural(queue.proving, "proof is", "proofs are")} being made` : "Nothing is being proved";
    const waiting = queue.waiting ? `${plural(queue.waiting, "statement waits", "statements wait")}` : "nothing waits";
    return [make("p", "", `${proving}, and ${waiting}.`), table("Devices", ["device", "does", "what", "#proofs", "#failures", "#busy"], rows)];
  });
}

function paintSavings() {
  const { economy } = known.status;
  const forks = [...known.forks.values()].sort((a, b) => a.id - b.id);
  panel("savings", [economy, forks.map((fork) => [fork.economy, fork.canonical, fork.to])], () => {
    const text = ({ seconds, money }) => `${seconds.toFixed(1)} s${money === null ? "" : ` · ${money.toFixed(2)}`}`;
    const accounts = [
      ["spent", "spent on proofs", "proved"], ["saved_by_hits", "saved by stored proofs", "reused"], ["saved_by_merging", "saved by sharing", "reused"],
      ["lost_to_reorgs", "lost to reorgs", "dropped"], ["lost_to_failures", "lost to failures", "failed"],
    ];
    const most = Math.max(...accounts.map(([name]) => economy[name].seconds), 0.001);
    const bars = make("div", "bars", accounts.flatMap(([name, word, cls]) => {
      const bar = make("div", `bar ${cls}`, undefined, { "aria-hidden": "true" });
      bar.style.width = `${(100 * economy[name].seconds) / most}%`;
      return [make("span", "", word), bar, make("b", "", text(economy[name]))];
    }));
    const rows = forks.slice(-50).map(({ id, from, to, canonical, economy }) => cells("td", [`fork ${id}`, `${from}–${to}`, canonical ? "canonical" : "off the chain", number(text(economy.spent)), number(text(economy.saved_by_hits)), number(text(economy.lost_to_reorgs))]));
    return [bars, table("By fork", ["fork", "blocks", "tip is", "#spent", "#saved", "#lost"], rows)];
  });
}

function paintHealth() {
  const { health, connection } = known.status;
  panel("reasons", [health, connection], () => {
    const link = connection ? [make("p", "quiet", connection.connected ? `Connected to the L1: ${connection.reached} of ${connection.goal} blocks.` : `Not connected to the L1: ${connection.lost ?? ""}`)] : [];
    if (!health.reasons.length) return [make("p", "", "All is well."), ...link];
    return [...health.reasons.map((reason) => make("div", `reason ${reason.level === "red" ? "failed" : "proving"}`, [make("b", "", `${reason.level}: ${reason.message}`), `What to do: ${reason.advice}.`])), ...link];
  });
}

// Hands.

function select(block, focus = false) {
  if (!block) return;
  Object.assign(shown, { selected: block.hash, follow: false });
  // What is selected is not among silent ones.
  if (layout.fold.has(block.checkpoint)) place();
  reveal(block);
  draw();
  if (focus) requestAnimationFrame(() => drawn.get(block.hash)?.element.focus({ preventScroll: true }));
}

$("tree").addEventListener("click", (event) => {
  const element = event.target.closest(".block");
  if (element) select(known.blocks.get(element.dataset.hash ?? element.dataset.run), Boolean(element.dataset.run));
});

$("tree").addEventListener("keydown", (event) => {
  const seq = moment(), there = (block) => canonicalAt(block, seq) !== null;
  const here = known.blocks.get(shown.selected) ?? tipAt(seq);
  if (!here) return;
  const row = (block) => layout.row.get(block.fork) ?? 0;
  const beside = (direction) => (layout.byColumn.get(here.checkpoint) ?? []).filter((block) => there(block) && (row(block) - row(here)) * direction > 0).sort((a, b) => (row(a) - row(b)) * direction)[0];
  const children = (layout.children.get(here.hash) ?? []).filter(there);
  const to = {
    ArrowLeft: () => known.blocks.get(here.parent),
    ArrowRight: () => children.find((block) => block.fork === here.fork) ?? children[0],
    ArrowUp: () => beside(-1),
    ArrowDown: () => beside(1),
    Home: () => layout.byColumn.get(layout.columns[0].checkpoint).find(there),
    End: () => tipAt(seq),
  }[event.key];
  if (!to) return;
  event.preventDefault();
  select(to(), true);
});

for (const kind of ["wheel", "pointerdown", "touchstart"]) $("tree").addEventListener(kind, () => { shown.follow = false; }, { passive: true });
$("tree").addEventListener("scroll", draw, { passive: true });
addEventListener("resize", draw);
$("slider").addEventListener("input", (event) => { pause(); go(Number(event.target.value)); });
$("play").addEventListener("click", () => (shown.playing ? pause() : play(false)));
$("now").addEventListener("click", () => pause(true));
$("back").addEventListener("click", () => toReorg(-1));
$("on").addEventListener("click", () => toReorg(1));
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  run();
});
$("legend").replaceChildren(
  ...[...KINDS].reverse().map((kind) => make("li", "key", [make("span", `shape ${kind}`, undefined, { "aria-hidden": "true" }), kind])),
  ...["waiting", "proving", "proved", "reused", "failed"].map((state) => make("li", `pill ${state}`, `${SIGNS[state]} ${WORDS[state]}`)),
  make("li", "pill settled", "⚑ settlement"),
);

run();
