"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 16, GAP = 3, DOTS = 11, AXIS = 38, COUNTS = 22;
  const [LANE, AT_ROW, KIND, START, END, LABEL, SET, STATE, HELD] = Array(9).keys();
  const [SEQ, STEP, ON, NAME, GROUP, WORDS, RAW] = Array(7).keys();
  const kindOf = (span) => data.kinds[span[KIND]];
  const number = (value) => (Number(value) || 0).toLocaleString("en");

  /* Elements; text is only ever set as text. */
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    element.append(...children);
    return element;
  }
  function draw(tag, attributes, text) {
    const element = document.createElementNS(SVG, tag);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    return element;
  }
  function jump(step, text) {
    const button = make("button", { type: "button", class: "jump" }, text);
    button.addEventListener("click", () => go(step));
    return button;
  }

  /* What is shown and where we are. */
  const hiddenLanes = new Set(), hiddenGroups = new Set();
  const narrow = matchMedia("(max-width: 52rem)");
  const first = data.first, last = Math.max(data.last, data.first + 1);
  let view = { from: first, to: last };
  let current = data.focus, chosen = null, chosenFlag = 0;
  let marks = { A: null, B: null };
  let steps = [], playing = 0, laneTop = [], laneHeight = [], rowTop = [], height = 0;

  const endOf = (span) => (span[END] < 0 ? last : span[END]);
  const shownEntry = (entry) => !hiddenLanes.has(entry[ON]) && !hiddenGroups.has(entry[GROUP]);
  const shownSpan = (span) => !hiddenLanes.has(span[LANE]) && !hiddenGroups.has(data.kindGroups[span[KIND]]);
  function visibleSteps() {
    steps = [];
    for (const entry of data.entries) {
      if (shownEntry(entry) && steps[steps.length - 1] !== entry[STEP]) steps.push(entry[STEP]);
    }
  }
  /* Index of the first item that is not before a step. */
  function place(list, step, key) {
    let low = 0, high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((key ? key(list[middle]) : list[middle]) < step) low = middle + 1; else high = middle;
    }
    return low;
  }
  const entriesOf = (step) => {
    const found = [];
    for (let i = place(data.entries, step, (e) => e[STEP]); i < data.entries.length && data.entries[i][STEP] === step; i++) found.push(data.entries[i]);
    return found;
  };

  /* The record as the log has it. */
  const record = (entry) =>
    `{"seq":${entry[SEQ]},"step":${entry[STEP]},"actor":${JSON.stringify(data.lanes[entry[ON]][0])},"event":"${data.names[entry[NAME]]}"` +
    (entry[RAW] === "{}" ? "}" : `,${entry[RAW].slice(1)}`);

  /* Sets at a step: replayed from the last step that was asked for, or the beginning. */
  let known = null;
  const setKey = (as, set) => `${as}/${set}`;
  function beginning() {
    const sets = new Map(), active = new Map();
    for (const [as, set, isActive, generation, slots] of data.sets) {
      sets.set(setKey(as, set), { as, set, generation, slots: new Map(slots.map((s) => [s[0], s])) });
      if (isActive) active.set(as, set);
    }
    return { step: -1, next: 0, sets, active };
  }
  /* Do one change; returns the slot that left. */
  function apply({ sets, active }, [, as, set, kind, old, entered, generation, source]) {
    const id = setKey(as, set);
    if (kind === "freed") { sets.delete(id); return null; }
    if (kind === "copied") {
      const from = sets.get(setKey(as, source));
      if (from) sets.set(id, { as, set, generation: from.generation, slots: new Map(from.slots) });
      return null;
    }
    if (!sets.has(id)) sets.set(id, { as, set, generation: "0", slots: new Map() });
    const live = sets.get(id), left = old === null ? null : live.slots.get(old);
    if (generation !== null) live.generation = generation;
    if (kind === "replaced") {
      live.slots.delete(old);
      if (entered) live.slots.set(entered[0], entered);
    } else if (kind === "emptied") live.slots.clear();
    else if (kind === "published" || (kind === "made" && !active.has(as))) active.set(as, set);
    return left;
  }
  function setsAt(step) {
    if (!known || known.step >= step) known = beginning();
    const now = [];
    for (; known.next < data.changes.length && data.changes[known.next][0] <= step; known.next++) {
      const change = data.changes[known.next], left = apply(known, change);
      if (change[0] === step) now.push({ change, left });
    }
    known.step = step;
    const list = [...known.sets.values()].sort((a, b) => a.as - b.as || a.set - b.set);
    for (const each of list) {
      each.active = known.active.get(each.as) === each.set;
      each.list = [...each.slots.values()].sort((a, b) => a[2] - b[2]);
    }
    return { list, now };
  }
  const INVALID = 1 << 16;
  const flagWords = (flags) => [flags & INVALID ? "INVALID" : "", flags & 2 ? "read-only" : "", flags & 1 ? "logged" : "", flags & 4 ? "memfd" : ""].filter(Boolean).join(" ");
  const hex = (value) => "0x" + value.toString(16);
  const slotText = (s) => `slot ${s[1]} #${s[0]} gfn [${hex(s[2])}, ${hex(s[2] + s[3])}) ${flagWords(s[5])}`.trim();

  /* The header. */
  function head() {
    $("verdict").textContent = data.verdict;
    $("verdict").className = data.verdict;
    const facts = Object.entries(data.facts).map(([key, value]) => `${key} ${value}`);
    facts.push(`${number(data.events)} events in ${number(data.steps)} steps`, data.ending || "cut off");
    $("facts").textContent = facts.concat(data.reasons).join(" · ");
    $("notice").textContent = data.notice;
    $("notice").hidden = !data.notice;
    $("findings").hidden = !data.flags.length;
    const boxes = [];
    data.flags.forEach((flag, index) => {
      const box = make("details", index ? {} : { open: "" });
      const summary = make("summary", {}, make("b", {}, flag.checker), " is broken in ", jump(flag.step, `step ${number(flag.step)}`), ` by ${flag.actor}`);
      const list = make("ol");
      flag.causes.forEach((step, n) => list.append(make("li", {}, make("span", { class: "badge" }, String(n + 1)), ...told(step))));
      list.append(make("li", {}, make("span", { class: "badge bad" }, "!"), ...told(flag.step)));
      box.append(summary, make("p", { class: "seen" }, flag.seen), list, make("p", { class: "quiet" }, `The rule: ${flag.why}. ${flag.source}`));
      box.addEventListener("toggle", () => { if (box.open) { chosenFlag = index; drawLanes(); } });
      boxes.push(box);
    });
    $("findings").append(...boxes.slice(0, 1));
    if (boxes.length > 1) {
      const more = boxes.length === 2 ? "1 more violation" : `${boxes.length - 1} more violations`;
      $("findings").append(make("details", { id: "more" }, make("summary", {}, more), ...boxes.slice(1)));
    }
    $("violation").disabled = !data.flags.some((flag) => inside(flag.step));
    $("swap").disabled = !data.swaps.length;
  }
  const inside = (step) => step >= first && step <= last;
  /* A step and what happened in it. */
  function told(step) {
    if (!inside(step)) return [`step ${number(step)} (not in this picture; try --from ${step})`];
    const said = entriesOf(step).map((e) => `${data.lanes[e[ON]][0]} ${e[WORDS]}`).join("; ");
    return [jump(step, `step ${number(step)}`), said ? `: ${said}` : ""];
  }

  /* Where everything is. */
  let across = 0;
  const width = () => across;
  const measure = () => { across = Math.max(60, $("lanes").getBoundingClientRect().width); };
  const x = (step) => ((step - view.from) / (view.to - view.from)) * across;
  const stepAt = (px) => view.from + (px / width()) * (view.to - view.from);
  function arrange() {
    const used = data.lanes.map(() => new Set());
    for (const span of data.spans) if (shownSpan(span)) used[span[LANE]].add(span[AT_ROW]);
    height = 0;
    data.lanes.forEach(([, kind, rows], lane) => {
      laneTop[lane] = height;
      rowTop[lane] = [];
      let y = GAP;
      for (let row = 0; row < rows; row++) {
        rowTop[lane][row] = y;
        if (used[lane].has(row)) y += ROW + GAP;
      }
      if (kind === "ranks") y += 2 * COUNTS;
      else if (kind !== "sets") y += DOTS;
      laneHeight[lane] = hiddenLanes.has(lane) ? 0 : Math.max(y + GAP, 25);
      height += laneHeight[lane];
    });
    const labels = data.lanes.map(([name, kind], lane) => {
      const label = make("div", { title: name, "data-lane": lane }, name);
      if (kind === "ranks" || kind === "sets") label.className = "two";
      else if (laneHeight[lane] > 38) label.append(make("small", {}, kind));
      label.style.top = `${laneTop[lane]}px`;
      label.style.height = `${laneHeight[lane]}px`;
      label.hidden = hiddenLanes.has(lane);
      return label;
    });
    $("labels").replaceChildren(...labels);
    $("labels").style.height = `${height}px`;
    $("lanes").style.height = `${height}px`;
  }
  const yOf = (span) => laneTop[span[LANE]] + rowTop[span[LANE]][span[AT_ROW]];
  const colour = (set) => `f${((set % 4) + 4) % 4}`;

  /* The lanes. */
  let over = null;
  function drawLanes() {
    measure();
    const svg = $("lanes"), wide = width(), bits = document.createDocumentFragment();
    const defs = draw("defs");
    defs.append(hatch("hatch"), hatch("hatch-on", "on"), head_("head"), head_("head-not"));
    bits.append(defs);
    data.lanes.forEach((_, lane) => {
      if (!laneHeight[lane]) return;
      bits.append(draw("rect", { class: lane % 2 ? "lane odd" : "lane", x: 0, y: laneTop[lane], width: wide, height: laneHeight[lane] }));
      bits.append(draw("line", { class: "border", x1: 0, x2: wide, y1: laneTop[lane] + .5, y2: laneTop[lane] + .5 }));
    });
    for (const tick of ticks()) bits.append(draw("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: height }));
    drawSpans(bits);
    drawRanks(bits, wide);
    drawDots(bits);
    let free = -9;
    for (const [step, , set] of data.swaps) {
      if (hiddenGroups.has(data.groups.indexOf("sets")) || step < view.from || step > view.to || x(step) < free) continue;
      free = x(step) + 2.5;
      bits.append(draw("line", { class: `swap ${colour(set)}`, x1: x(step), x2: x(step), y1: 0, y2: height }));
    }
    drawArrows(bits);
    const flag = data.flags[chosenFlag];
    if (flag) for (const step of flag.causes) bits.append(line("cause", step));
    for (const each of data.flags) if (inside(each.step)) bits.append(line("violation", each.step));
    over = draw("g", { id: "over" });
    svg.replaceChildren(bits, over);
    drawOver();
    drawOverview();
  }
  const line = (kind, step) => draw("line", { class: kind, x1: x(step), x2: x(step), y1: 0, y2: height });
  function hatch(id, on = "") {
    const pattern = draw("pattern", { id, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    pattern.append(draw("line", { class: `hatch-line ${on}`, x1: 0, y1: 0, x2: 0, y2: 7 }));
    return pattern;
  }
  function head_(id) {
    const marker = draw("marker", { id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
    marker.append(draw("path", { d: "M0,0L8,4L0,8z" }));
    return marker;
  }
  function ticks() {
    const span = view.to - view.from, wanted = Math.max(2, width() / 90);
    let by = 10 ** Math.floor(Math.log10(span / wanted));
    while (span / by > wanted) by *= span / by > wanted * 4 ? 5 : 2;
    by = Math.max(1, by);
    const list = [];
    for (let at = Math.ceil(view.from / by) * by; at <= view.to; at += by) list.push(Math.round(at));
    return list;
  }
  function drawSpans(bits) {
    const seen = data.spans.filter((span) => span[START] <= view.to && endOf(span) >= view.from && shownSpan(span));
    const thin = seen.length > 20000 ? 10 : seen.length > 1500 ? 4 : 1.5, until = new Map();
    for (const span of seen) {
      const left = Math.max(-4, x(span[START])), right = Math.min(width() + 4, Math.max(x(endOf(span)), x(span[START]) + 2));
      const row = span[LANE] * 4096 + span[AT_ROW];
      if (right - left < thin && right <= (until.get(row) || -10) + thin) continue;
      until.set(row, right);
      const y = yOf(span), kind = kindOf(span), i = span.index;
      let name = `bar ${kind}`;
      if (kind === "set") name += ` ${colour(span[SET])}${span[STATE] & 1 ? " active" : ""}`;
      if (span === chosen) name += " chosen";
      const box = { x: left, y, width: right - left, height: ROW, rx: 2 };
      bits.append(draw("rect", { class: name, ...box, "data-span": i }));
      if (kind === "section") drawHeld(bits, span, y);
      if (span[STATE] & 2) bits.append(draw("rect", { ...box, fill: span[STATE] & 1 ? "url(#hatch-on)" : "url(#hatch)", class: "invalid", "pointer-events": "none" }));
      if (kind === "section" && span[HELD].length) continue;
      const on = kind === "set" && span[STATE] & 1 ? "on" : span[STATE] & 2 ? "halo" : "";
      drawLabel(bits, kind === "section" ? "no set yet" : span[LABEL], left, right, y, on);
    }
  }
  function drawLabel(bits, label, left, right, y, look) {
    const from = Math.max(left, 0), fits = Math.floor((Math.min(right, width()) - from - 6) / 6.3);
    const text = label.length <= fits ? label : fits > 3 ? `${label.slice(0, fits - 1)}…` : "";
    if (text) bits.append(draw("text", { x: from + 3, y: y + ROW - 4, class: look }, text));
  }
  /* A section is coloured from the moment it got hold of a set. */
  function drawHeld(bits, span, y) {
    const held = span[HELD].filter(([, as, set], n) => !n || set !== span[HELD][n - 1][2] || as !== span[HELD][n - 1][1]);
    held.forEach(([step, as, set], n) => {
      const to = n + 1 < held.length ? held[n + 1][0] : endOf(span);
      const left = Math.max(-4, x(step)), right = Math.min(width() + 4, Math.max(x(to), x(step) + 1));
      if (right <= left) return;
      bits.append(draw("rect", { class: `held ${colour(set)}`, x: left, y: y + 1, width: right - left, height: ROW - 2 }));
      const label = `set ${set}${as ? ` of as ${as}` : ""}`;
      drawLabel(bits, right - left < label.length * 6.3 + 8 ? String(set) : label, left, right, y, "on");
    });
  }
  function drawDots(bits) {
    const from = place(data.entries, view.from, (e) => e[STEP]), until = new Map();
    const many = place(data.entries, view.to, (e) => e[STEP]) - from, close = many > 40000 ? 12 : many > 2000 ? 5 : 2;
    for (let i = from; i < data.entries.length; i++) {
      const entry = data.entries[i];
      if (entry[STEP] > view.to) break;
      if (!shownEntry(entry)) continue;
      const at = x(entry[STEP]), key = entry[ON] * 64 + entry[GROUP];
      if (until.has(key) && at - until.get(key) < close) continue;
      until.set(key, at);
      const y = laneTop[entry[ON]] + laneHeight[entry[ON]] - DOTS / 2 - GAP;
      bits.append(draw("circle", { class: `dot g${entry[GROUP]}${entry[STEP] === current ? " here" : ""}`, cx: at, cy: y, r: entry[GROUP] ? 3 : 5, "data-entry": i }));
    }
  }
  function drawArrows(bits) {
    if (hiddenGroups.has(data.groups.indexOf("grace periods"))) return;
    const until = new Map(), there = (data.arrows.length / (last - first)) * (view.to - view.from), gap = there > 1000 ? 12 : 0, busy = there > 40;
    for (const [from, to, waited] of data.arrows) {
      const section = data.spans[from], period = data.spans[to];
      if (!shownSpan(section) || hiddenLanes.has(period[LANE])) continue;
      const at = waited ? endOf(section) : endOf(period);
      if (at < view.from || at > view.to) continue;
      const key = `${to} ${section[LANE]}`;
      if (waited && (x(at) - (until.get(key) ?? -9) < 3 || x(at) - (until.get(section[LANE]) ?? -9) < gap)) continue;
      until.set(key, x(at));
      until.set(section[LANE], x(at));
      const a = yOf(section) + ROW / 2, b = yOf(period) + (yOf(period) > a ? 0 : ROW), bend = x(at) + 14;
      const path = waited ? `M${x(at)},${a}C${bend},${a} ${bend},${(a + b) / 2} ${x(at) + 3},${b}` : `M${x(at)},${b}C${bend},${b} ${bend},${a} ${x(at) + 2},${a}`;
      bits.append(draw("path", { class: waited ? `arrow${busy ? " busy" : ""}` : "arrow not", d: path, "marker-end": waited ? "url(#head)" : "url(#head-not)" }));
    }
  }
  function drawRanks(bits, wide) {
    const most = new Map();
    for (const [, lane, , locks, unlocks] of data.ranks) most.set(lane, Math.max(most.get(lane) || 1, locks - unlocks));
    for (const [lane, top] of most) {
      if (!laneHeight[lane]) continue;
      for (const rank of [0, 1]) {
        const floor = laneTop[lane] + laneHeight[lane] - GAP - (1 - rank) * COUNTS;
        let path = "", count = 0, before = -5;
        const y = () => (floor - (Math.max(0, count) / top) * (COUNTS - 5)).toFixed(1);
        for (const [step, on, which, locks, unlocks] of data.ranks) {
          if (on !== lane || which !== rank) continue;
          if (step > view.to) break;
          const at = Math.max(0, x(step));
          if (!path) path = `M${at.toFixed(1)},${floor}`;
          else if (at - before >= 1) { path += `H${at.toFixed(1)}`; before = at; }
          count = locks - unlocks;
          path += `V${y()}`;
        }
        if (path) bits.append(draw("path", { class: `readers ${colour(rank + 2)}`, d: `${path}H${wide}V${floor}` }));
        bits.append(draw("text", { class: "dim", x: 3, y: floor - 3 }, `rank ${rank}`));
      }
    }
  }

  /* What moves with the step: cursor, markers, axis. */
  function drawOver() {
    const bits = [];
    const { A, B } = marks;
    if (A !== null && B !== null) bits.push(draw("rect", { class: "between", x: x(Math.min(A, B)), y: 0, width: Math.abs(x(A) - x(B)), height }));
    for (const mark of ["A", "B"]) if (marks[mark] !== null) bits.push(line("marker", marks[mark]));
    bits.push(line("cursor", current));
    over.replaceChildren(...bits);
    const axis = [];
    let free = -50;
    for (const tick of ticks()) {
      const at = x(tick);
      if (at - free < 40 || at > width() - 20) continue;
      free = at;
      axis.push(draw("text", { class: "dim", x: at + 3, y: AXIS - 5 }, number(tick)), draw("line", { class: "grid", x1: at, x2: at, y1: AXIS - 8, y2: AXIS }));
    }
    const tag = (step, text, kind, top = 3) => {
      const at = x(step), size = 8 + text.length * 7;
      if (at < -20 || at > width() + 20) return;
      const left = Math.min(Math.max(at - size / 2, 0), width() - size);
      const group = draw("g", { class: `tag ${kind}` });
      group.append(draw("rect", { x: left, y: top, width: size, height: 16 }), draw("text", { x: left + size / 2, y: top + 12 }, text));
      axis.push(group);
    };
    tag(current, number(current), "cursor", 21);
    const flag = data.flags[chosenFlag];
    if (flag) flag.causes.forEach((step, n) => inside(step) && tag(step, String(n + 1), "cause"));
    for (const each of data.flags) if (inside(each.step)) tag(each.step, "!", "bad");
    for (const mark of ["A", "B"]) if (marks[mark] !== null) tag(marks[mark], mark, "marker");
    $("axis").replaceChildren(...axis);
    for (const dot of $("lanes").querySelectorAll(".dot")) dot.classList.toggle("here", data.entries[dot.dataset.entry][STEP] === current);
  }
  let overviewOf = 0;
  function drawOverview() {
    const svg = $("overview"), wide = svg.clientWidth || width(), high = 24;
    const at = (step) => ((step - first) / (last - first)) * wide;
    if (overviewOf !== wide) {
      overviewOf = wide;
      const cells = Math.ceil(wide / 3), counts = new Uint32Array(cells + 1), bits = [];
      for (const entry of data.entries) counts[Math.min(cells, Math.floor(at(entry[STEP]) / 3))]++;
      const most = counts.reduce((a, b) => Math.max(a, b), 1);
      let path = "", free = -9;
      counts.forEach((count, n) => { if (count) path += `M${n * 3},${high}v${-Math.max(2, (count / most) * high)}h3V${high}z`; });
      bits.push(draw("path", { class: "density", d: path }));
      for (const [step, , set] of data.swaps) {
        if (at(step) < free) continue;
        free = at(step) + 3;
        bits.push(draw("line", { class: `swap ${colour(set)}`, x1: at(step), x2: at(step), y1: high - 8, y2: high }));
      }
      for (const flag of data.flags) if (inside(flag.step)) bits.push(draw("line", { class: "violation", x1: at(flag.step), x2: at(flag.step), y1: 0, y2: high }));
      bits.push(draw("g", {}));
      svg.replaceChildren(...bits);
    }
    svg.lastChild.replaceChildren(
      draw("rect", { class: "view", x: at(view.from), y: 0, width: Math.max(3, at(view.to) - at(view.from)), height: high }),
      draw("line", { class: "cursor", x1: at(current), x2: at(current), y1: 0, y2: high }));
  }

  /* The panels. */
  function tellStep() {
    const here = entriesOf(current), shown = here.filter(shownEntry);
    $("now-title").replaceChildren(`Step ${number(current)} `, make("small", { class: "quiet" }, `of ${number(data.steps)}`));
    $("records").replaceChildren(...here.map((entry) => make("li", { "data-seq": entry[SEQ] },
      make("details", here.length > 3 ? {} : { open: "" }, make("summary", {}, make("b", {}, data.lanes[entry[ON]][0]), ` ${entry[WORDS]}`), make("pre", {}, record(entry))))));
    if (!here.length) $("records").replaceChildren(make("li", {}, "The log has no event in this step."));
    $("live").textContent = `Step ${current}. ` + shown.map((e) => `${data.lanes[e[ON]][0]} ${e[WORDS]}`).join(". ");
    const flagged = data.flags.filter((flag) => flag.step === current);
    $("records").prepend(...flagged.map((flag) => {
      const causes = flag.causes.flatMap((step) => [" ", jump(step, `step ${number(step)}`)]);
      return make("li", { class: "flag" }, make("span", { class: "badge bad" }, "!"), `${flag.checker}: ${flag.seen}.`, ...(causes.length ? [" Caused by", ...causes] : []));
    }));
    tellWhere();
    tellSets();
  }
  function openAt(step) {
    return data.spans.filter((span) => span[START] <= step && (span[END] < 0 || span[END] > step));
  }
  function tellWhere() {
    const by = new Map();
    for (const span of openAt(current)) {
      const kind = kindOf(span);
      if (kind === "set") continue;
      let text = span[LABEL];
      if (kind === "section") {
        const held = span[HELD].filter(([step]) => step <= current).pop();
        text = `read section${held ? `, holds set ${held[2]}${held[1] ? ` of as ${held[1]}` : ""}` : ", holds no set yet"}`;
      } else if (kind === "lock") text = `has ${text}`;
      else if (kind === "lock-wait") text = text.startsWith("stuck") ? text : `may wait for ${text}`;
      else if (kind === "synchronize") text = `waits for a grace period (${text})`;
      if (!by.has(span[LANE])) by.set(span[LANE], []);
      by.get(span[LANE]).push(`${text} (since ${number(span[START])})`);
    }
    const items = [...by].sort((a, b) => a[0] - b[0]).slice(0, 60).map(([lane, texts]) => make("li", {}, make("b", {}, data.lanes[lane][0]), `: ${texts.join("; ")}`));
    $("where").replaceChildren(...(items.length ? items : [make("li", {}, "nobody is inside anything")]));
  }
  const scales = new Map();
  /* A gfn axis on which every slot that there ever is can be seen: gaps are short. */
  function scaleOf(as) {
    if (scales.has(as)) return scales.get(as);
    const edges = new Set();
    const add = (slot) => { edges.add(slot[2]); edges.add(slot[2] + Math.max(1, slot[3])); };
    for (const [id, , , , slots] of data.sets) if (id === as) slots.forEach(add);
    for (const change of data.changes) if (change[1] === as && change[5]) add(change[5]);
    const at = [...edges].sort((a, b) => a - b), places = new Map();
    let sum = 0;
    at.forEach((edge, n) => {
      if (n) sum += 1 + Math.log2(1 + Math.max(0, edge - at[n - 1]));
      places.set(edge, sum);
    });
    const scale = { at, of: (gfn) => (places.get(gfn) || 0) / (sum || 1) };
    scales.set(as, scale);
    return scale;
  }
  function tellSets() {
    const { list, now } = setsAt(current), spaces = new Map();
    for (const each of list) {
      if (!spaces.has(each.as)) spaces.set(each.as, []);
      spaces.get(each.as).push(each);
    }
    $("changed").replaceChildren(...now.slice(0, 40).map(({ change, left }) => {
      const [, as, set, kind, old, entered, generation, source] = change, where = `set ${set}${as ? ` of as ${as}` : ""}`;
      const what = {
        published: `${where} is published: readers find it from now on`,
        numbered: `${where} has generation ${generation}`,
        made: `${where} is made, empty`, emptied: `${where} is given up`, freed: `${where} is freed`,
        copied: `${where} is made, a copy of set ${source}`,
        replaced: `${where}: ${[old === null ? "" : `− ${left ? slotText(left) : "#" + old}`, entered ? `+ ${slotText(entered)}` : ""].filter(Boolean).join("  ")}`,
      }[kind];
      return make("li", {}, what);
    }));
    const holders = new Map();
    for (const span of openAt(current)) {
      if (kindOf(span) !== "section") continue;
      const latest = new Map();
      for (const [step, as, set] of span[HELD]) if (step <= current) latest.set(as, set);
      for (const [as, set] of latest) {
        const key = `${as}/${set}`;
        holders.set(key, (holders.get(key) || new Set()).add(data.lanes[span[LANE]][0]));
      }
    }
    const blocks = [];
    for (const [as, sets] of spaces) {
      const block = make("div", { class: "space" });
      if (spaces.size > 1) block.append(make("h3", {}, `Address space ${as}`));
      const scale = scaleOf(as);
      for (const each of sets.slice(-6)) block.append(setRow(each, sets, scale, holders.get(`${as}/${each.set}`)));
      block.append(gfnAxis(scale), slotTable(sets));
      blocks.push(block);
    }
    if (!blocks.length) blocks.push(make("p", { class: "quiet" }, "No address space has been made yet."));
    const open = [...$("spaces").querySelectorAll("details")].map((each) => each.open);
    $("spaces").replaceChildren(...blocks);
    $("spaces").querySelectorAll("details").forEach((each, n) => { each.open = open[n] || false; });
    tellRanks();
  }
  const mapWidth = () => Math.max(200, $("spaces").clientWidth);
  function setRow(each, sets, scale, holders) {
    const wide = mapWidth(), high = 34, row = make("div", {
      class: `set-row${each.active ? " is-active" : ""}`, "data-as": each.as, "data-set": each.set, "data-colour": colour(each.set).slice(1),
      "data-slots": each.list.map((s) => `${s[1]}#${s[0]}${s[5] & INVALID ? "!" : ""}`).join(" "), "data-generation": each.generation,
    });
    const count = each.list.length;
    const title = make("div", { class: "set-head" }, make("b", {}, `set ${each.set}`), make("span", { class: "state" }, each.active ? "active: readers find it" : "inactive"),
      make("span", {}, `generation ${each.generation}`), make("span", {}, count === 1 ? "1 slot" : `${number(count)} slots`),
      make("span", { class: "quiet" }, holders && holders.size ? `held by ${[...holders].slice(0, 12).join(", ")}${holders.size > 12 ? ` and ${holders.size - 12} more` : ""}` : ""));
    const svg = draw("svg", { viewBox: `0 0 ${wide} ${high}`, height: high, role: "img", "aria-label": `set ${each.set}: ${each.list.slice(0, 50).map(slotText).join(", ") || "empty"}` });
    const defs = draw("defs"), id = `hatch-${each.as}-${each.set}`;
    defs.append(hatch(id));
    svg.append(defs, draw("rect", { class: "map-back", x: 1, y: 1, width: wide - 2, height: high - 2, rx: 3 }));
    const others = sets.filter((other) => other !== each);
    let right = -1;
    for (const slot of each.list) {
      const from = 2 + scale.of(slot[2]) * (wide - 4), to = 2 + scale.of(slot[2] + Math.max(1, slot[3])) * (wide - 4);
      if (to - from < .7 && to <= right + .7) continue;
      right = to;
      const differs = others.some((other) => !other.slots.has(slot[0]));
      const box = { x: from, y: 4, width: Math.max(1, to - from), height: high - 8 };
      const rect = draw("rect", { ...box, class: `slot c${((slot[1] % 8) + 8) % 8}${differs ? " differs" : ""}`, "data-tip": `${slotText(slot)}, ${number(slot[3])} pages, hva ${slot[4]}` });
      svg.append(rect);
      if (slot[5] & INVALID) svg.append(draw("rect", { ...box, fill: `url(#${id})`, "pointer-events": "none", class: "invalid" }));
      const texts = [`slot ${slot[1]} #${slot[0]}`, `${slot[1]} #${slot[0]}`, `#${slot[0]}`, `${slot[0]}`], room = to - from - 6;
      const text = texts.find((each_) => each_.length * 6.2 < room);
      if (text) svg.append(draw("text", { x: from + 4, y: high / 2 + 4, class: slot[5] & INVALID ? "halo" : "" }, text));
    }
    row.append(title, svg);
    return row;
  }
  function gfnAxis(scale) {
    const wide = mapWidth(), svg = draw("svg", { viewBox: `0 0 ${wide} 20`, height: 20, class: "gfn-axis", "aria-hidden": "true" });
    let free = -10;
    for (const gfn of scale.at) {
      const at = 2 + scale.of(gfn) * (wide - 4), text = hex(gfn);
      svg.append(draw("line", { class: "border", x1: at, x2: at, y1: 0, y2: 4 }));
      const left = Math.min(at - 2, wide - 4 - text.length * 6.6);
      if (left < free) continue;
      free = left + text.length * 6.6 + 8;
      svg.append(draw("text", { class: "dim", x: Math.max(0, left), y: 16 }, text));
    }
    return svg;
  }
  function slotTable(sets) {
    const box = make("details", {}, make("summary", { class: "quiet" }, "the slots as a table (gfn axis not to scale; gaps are shortened)"));
    const fill = () => {
      if (!box.open || box.querySelector("table")) return;
      const table = make("table", {}, make("tr", {}, ...["set", "slot", "object", "gfns", "pages", "hva", "flags"].map((text) => make("th", {}, text))));
      for (const each of sets) {
        for (const s of each.list.slice(0, 500)) table.append(make("tr", {}, ...[each.set, s[1], `#${s[0]}`, `[${hex(s[2])}, ${hex(s[2] + s[3])})`, number(s[3]), s[4], flagWords(s[5])].map((text) => make("td", {}, String(text)))));
        if (each.list.length > 500) table.append(make("tr", {}, make("td", { colspan: 7 }, `and ${number(each.list.length - 500)} more slots in set ${each.set}`)));
      }
      box.append(make("div", { class: "wide" }, table));
    };
    box.addEventListener("toggle", fill);
    return box;
  }
  function tellRanks() {
    const now = new Map();
    for (const [step, lane, rank, locks, unlocks] of data.ranks) {
      if (step > current) break;
      now.set(`${lane}/${rank}`, [lane, rank, locks, unlocks]);
    }
    const lines = [...now.values()].map(([lane, rank, locks, unlocks]) => make("p", { "data-rank": rank, "data-readers": locks - unlocks },
      `${data.lanes[lane][0]}: rank ${rank} has ${number(locks)} locks − ${number(unlocks)} unlocks = ${locks - unlocks} readers`));
    $("ranks").replaceChildren(...(lines.length ? [make("h3", {}, "SRCU counters"), ...lines] : []));
  }

  /* Moving. */
  function show(step) {
    const span = view.to - view.from;
    if (step >= view.from + span * .04 && step <= view.to - span * .06) return false;
    const from = Math.min(Math.max(step - span * .4, first - span * .03), Math.max(first, last - span * .95));
    if (Math.abs(from - view.from) < span * 1e-6) return false;
    view = { from, to: from + span };
    return true;
  }
  function go(step, { keepHash = false } = {}) {
    current = Math.max(Math.min(Number(step) || 0, data.last), first);
    $("step").value = current;
    $("link").href = `#s${current}`;
    const flagged = data.flags.findIndex((flag) => flag.step === current);
    const other = flagged >= 0 && flagged !== chosenFlag;
    if (other) chosenFlag = flagged;
    if (!keepHash) history.replaceState(null, "", `#s${current}`);
    if (show(current) || other) drawLanes(); else { drawOver(); drawOverview(); }
    tellStep();
  }
  function move(by) {
    if (!steps.length) return;
    const at = place(steps, current);
    const exact = steps[at] === current;
    const to = by > 0 ? at + by - (exact ? 0 : 1) : at + by;
    go(steps[Math.max(0, Math.min(steps.length - 1, to))]);
  }
  function next(list, back) {
    const inPicture = [...new Set(list.filter(inside))].sort((a, b) => a - b);
    if (!inPicture.length) return;
    const found = back ? inPicture.filter((step) => step < current).pop() : inPicture.find((step) => step > current);
    go(found === undefined ? inPicture[back ? inPicture.length - 1 : 0] : found);
  }
  let flagShown = false;
  function toViolation() {
    const all = data.flags.map((flag) => flag.step);
    if (!flagShown) { flagShown = true; const here = all.filter(inside); if (here.length) go(Math.min(...here)); } else next(all);
  }
  function zoom(by, around = current) {
    const wide = Math.min(Math.max((view.to - view.from) * by, 4), (last - first) * 1.06 + 2);
    const share = (around - view.from) / (view.to - view.from);
    const at = share < 0 || share > 1 ? .5 : share;
    view.from = around - wide * at;
    view.to = view.from + wide;
    keepInside();
    drawLanes();
  }
  function keepInside() {
    const span = view.to - view.from, edge = Math.max(1, span * .03);
    if (view.from < first - edge) view = { from: first - edge, to: first - edge + span };
    if (view.to > last + edge) view = { from: Math.max(first - edge, last + edge - span), to: Math.max(first - edge + span, last + edge) };
  }
  function fit() {
    const edge = Math.max(1, (last - first) * .02);
    view = { from: first - edge, to: last + edge };
    drawLanes();
  }
  function pan(by) { view.from += by; view.to += by; keepInside(); drawLanes(); }
  function play(on) {
    clearInterval(playing);
    playing = 0;
    if (on && steps.length) {
      if (current >= steps[steps.length - 1]) go(steps[0]);
      playing = setInterval(() => { move(1); if (current >= steps[steps.length - 1]) play(false); }, Number($("speed").value));
    }
    $("play").textContent = playing ? "⏸︎ pause" : "▶︎ play";
    $("play").setAttribute("aria-pressed", String(Boolean(playing)));
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }
  function mark(name) {
    marks[name] = marks[name] === current ? null : current;
    drawOver();
    const { A, B } = marks;
    let text = "";
    if (A !== null) text = `A ${number(A)}`;
    if (B !== null) text += `${text && ", "}B ${number(B)}`;
    if (A !== null && B !== null) {
      const from = Math.min(A, B), to = Math.max(A, B), between = (list, key) => list.filter((each) => key(each) > from && key(each) <= to).length;
      const swaps = between(data.swaps, (swap) => swap[0]), events = between(data.entries, (entry) => entry[STEP]);
      text += `: ${number(to - from)} steps, ${number(events)} events, ${swaps} swap${swaps === 1 ? "" : "s"}`;
    }
    $("distance").textContent = text;
  }
  function theme() {
    const dark = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
  }
  function refilter() { visibleSteps(); arrange(); drawLanes(); tellStep(); }

  /* Hover and click. */
  function tipFor(target) {
    if (target.dataset.tip) return [target.dataset.tip];
    if (target.dataset.entry) {
      const entry = data.entries[target.dataset.entry];
      return [`${data.lanes[entry[ON]][0]} ${entry[WORDS]}`, record(entry)];
    }
    if (target.dataset.span) return aboutSpan(data.spans[target.dataset.span]);
    return null;
  }
  function aboutSpan(span) {
    const kind = { section: "read section", lock: "has", "lock-wait": "may wait for", call: "call:", "grace-period": "", set: "" }[kindOf(span)] ?? kindOf(span);
    const ends = span[END] < 0 ? "still open" : `${number(span[END] - span[START])} steps`;
    const lines = [`${data.lanes[span[LANE]][0]}: ${kind} ${span[LABEL]} · step ${number(span[START])} to ${span[END] < 0 ? "…" : number(span[END])} (${ends})`];
    const raws = [];
    for (const step of new Set([span[START], span[END]])) {
      if (step < 0) continue;
      const wanted = { set: "sets", call: "calls" }[kindOf(span)];
      const all = entriesOf(step).filter((e) => (wanted ? data.groups[e[GROUP]] === wanted : e[ON] === span[LANE] && e[GROUP] === data.kindGroups[span[KIND]]));
      raws.push(...all.slice(0, 3).map(record));
    }
    if (kindOf(span) === "section") for (const [step, as, set] of span[HELD].slice(0, 5)) lines.push(`from step ${number(step)} it holds set ${set}${as ? ` of as ${as}` : ""}`);
    return [lines.join("\n"), raws.join("\n")];
  }
  function hideTip() { $("tip").hidden = true; }
  function tip(event) {
    const told_ = event.target.dataset && tipFor(event.target);
    if (!told_) return hideTip();
    const box = $("tip");
    box.replaceChildren(...told_[0].split("\n").map((text) => make("div", {}, text)));
    if (told_[1]) box.append(make("pre", {}, told_[1]));
    box.hidden = false;
    const size = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - size.width - 8))}px`;
    box.style.top = `${event.clientY + 18 + size.height > innerHeight ? Math.max(4, event.clientY - size.height - 12) : event.clientY + 18}px`;
  }
  function choose(span) {
    chosen = span;
    const box = $("selected");
    box.hidden = !span;
    if (!span) return;
    const [text, raws] = aboutSpan(span);
    const buttons = [jump(span[START], `its beginning`)];
    if (span[END] >= 0) buttons.push(" · ", jump(span[END], "its end"));
    box.replaceChildren(make("h3", {}, "Chosen"), ...text.split("\n").map((each) => make("div", {}, each)), make("div", {}, ...buttons), ...(raws ? [make("pre", {}, raws)] : []));
  }
  function click(event) {
    const { span, entry } = event.target.dataset;
    if (entry) { choose(null); go(data.entries[entry][STEP]); return drawLanes(); }
    const step = stepAt(event.clientX - $("lanes").getBoundingClientRect().left);
    choose(span ? data.spans[span] : null);
    const at = place(steps, step), near = [steps[at - 1], steps[at]].filter((each) => each !== undefined).sort((a, b) => Math.abs(a - step) - Math.abs(b - step))[0];
    if (near !== undefined) go(near);
    drawLanes();
  }
  function gestures() {
    const svg = $("lanes"), pointers = new Map();
    let moved = 0, waiting = 0;
    const soon = (action) => { if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; action(); }); };
    svg.addEventListener("pointerdown", (event) => { pointers.set(event.pointerId, event.clientX); moved = 0; });
    svg.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (before === undefined) { if (event.pointerType === "mouse") tip(event); return; }
      hideTip();
      const by = event.clientX - before;
      moved += Math.abs(by);
      if (moved < 6) return;
      svg.setPointerCapture(event.pointerId);
      if (pointers.size === 2) {
        const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
        const was = Math.abs(before - other), is = Math.abs(event.clientX - other);
        pointers.set(event.pointerId, event.clientX);
        if (was > 10 && is > 10) soon(() => zoom(was / is, stepAt((event.clientX + other) / 2 - svg.getBoundingClientRect().left)));
        return;
      }
      pointers.set(event.pointerId, event.clientX);
      view.from -= (by / width()) * (view.to - view.from);
      view.to -= (by / width()) * (view.to - view.from);
      keepInside();
      soon(drawLanes);
    });
    const done = (event) => pointers.delete(event.pointerId);
    svg.addEventListener("pointerup", done);
    svg.addEventListener("pointercancel", done);
    svg.addEventListener("pointerleave", hideTip);
    svg.addEventListener("click", (event) => { if (moved < 6) click(event); });
    $("spaces").addEventListener("pointermove", tip);
    $("spaces").addEventListener("pointerleave", hideTip);
    $("timeline").addEventListener("wheel", (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const around = stepAt(event.clientX - svg.getBoundingClientRect().left), by = Math.exp(event.deltaY / 300);
        soon(() => zoom(by, around));
      } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
        event.preventDefault();
        const by = ((event.deltaX || event.deltaY) / width()) * (view.to - view.from);
        soon(() => pan(by));
      }
    }, { passive: false });
    const look = (event) => {
      const box = $("overview").getBoundingClientRect(), span = view.to - view.from;
      const step = first + ((event.clientX - box.left) / box.width) * (last - first);
      view = { from: step - span / 2, to: step + span / 2 };
      keepInside();
      soon(drawLanes);
    };
    $("overview").addEventListener("pointerdown", (event) => { $("overview").setPointerCapture(event.pointerId); look(event); });
    $("overview").addEventListener("pointermove", (event) => { if (event.buttons) look(event); });
  }

  /* Keys and buttons. */
  const swaps = () => data.swaps.map((swap) => swap[0]);
  const KEYS = [
    ["← →", "step back, step forward", { ArrowLeft: () => move(-1), ArrowRight: () => move(1) }],
    ["Page Up, Page Down", "ten back, ten forward", { PageUp: () => move(-10), PageDown: () => move(10) }],
    ["Home, End", "first, last", { Home: () => go(steps[0] ?? first), End: () => go(steps[steps.length - 1] ?? last) }],
    ["Space", "play, pause", { " ": () => play(!playing) }],
    ["v", "first violation; again: the next", { v: toViolation }],
    ["s, Shift+S", "next swap, the one before", { s: () => next(swaps()), S: () => next(swaps(), true) }],
    ["a, b", "put marker A, B here, or take it away", { a: () => mark("A"), b: () => mark("B") }],
    ["+ − 0", "zoom in, zoom out, everything", { "+": () => zoom(.6), "=": () => zoom(.6), "-": () => zoom(1 / .6), 0: fit }],
    ["< >", "look left, look right", { "<": () => pan((view.from - view.to) * .3), ">": () => pan((view.to - view.from) * .3) }],
    ["g", "go to a step by its number", { g: () => $("step").select() }],
    ["h", "show and hide lanes and kinds", { h: () => { $("filters").open = true; $("filters").querySelector("input").focus(); } }],
    ["t", "light or dark", { t: theme }],
    ["?", "this list", { "?": () => $("keys").showModal() }],
  ];
  const actions = Object.assign({}, ...KEYS.map(([, , each]) => each));
  function keys() {
    for (const [names, what] of KEYS) $("keys").querySelector("dl").append(make("dt", {}, names), make("dd", {}, what));
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
      const on = event.target, typing = on.matches("input[type=number], select");
      if (typing && !(event.key === "Escape")) return;
      if (event.key === "Escape") { on.blur(); hideTip(); choose(null); return; }
      if (event.key === " " && on.matches("button, summary, input, a")) return;
      const action = actions[event.key];
      if (action) { event.preventDefault(); action(); }
    });
    const buttons = { first: "Home", back: "ArrowLeft", forward: "ArrowRight", end: "End", play: " ", violation: "v", swap: "s", out: "-", in: "+", fit: "0", "mark-a": "a", "mark-b": "b", theme: "t", help: "?" };
    for (const id in buttons) $(id).addEventListener("click", () => actions[buttons[id]]());
    $("step").addEventListener("change", () => go($("step").value));
    $("speed").addEventListener("change", () => { if (playing) play(true); });
  }
  function filters() {
    const used = new Set(data.entries.map((entry) => entry[GROUP]));
    for (const span of data.spans) used.add(data.kindGroups[span[KIND]]);
    const box = (text, hidden, key, id) => {
      const input = make("input", { type: "checkbox", checked: "", id });
      input.addEventListener("change", () => { if (input.checked) hidden.delete(key); else hidden.add(key); refilter(); });
      return make("label", {}, input, text);
    };
    data.groups.forEach((name, group) => { if (used.has(group)) $("kinds").append(box(name, hiddenGroups, group, `kind-${group}`)); });
    data.lanes.forEach(([name], lane) => $("lane-list").append(box(name, hiddenLanes, lane, `lane-${lane}`)));
    for (const [list, hidden] of [["kinds", hiddenGroups], ["lane-list", hiddenLanes]]) {
      for (const on of [true, false]) {
        const button = make("button", { type: "button" }, on ? "all" : "none");
        button.addEventListener("click", () => {
          for (const input of $(list).querySelectorAll("input")) {
            input.checked = on;
            const key = Number(input.id.split("-").pop());
            if (on) hidden.delete(key); else hidden.add(key);
          }
          refilter();
        });
        $(list).before(button, " ");
      }
    }
  }
  function legend() {
    const item = (text, ...shapes) => {
      const svg = draw("svg", { "aria-hidden": "true" });
      svg.append(...shapes);
      $("legend-list").append(make("li", {}, svg, text));
    };
    const bar = (name) => draw("rect", { class: name, x: 1, y: 2, width: 32, height: 12, rx: 2 });
    const many = data.spans.some((span) => span[SET] > 1);
    item("read section that holds set 0", bar("bar section"), draw("rect", { class: "held f0", x: 8, y: 3, width: 24, height: 10 }));
    item("… set 1", bar("bar section"), draw("rect", { class: "held f1", x: 8, y: 3, width: 24, height: 10 }));
    if (many) item("further sets take the colours in turn", draw("rect", { class: "f2", x: 1, y: 3, width: 15, height: 10 }), draw("rect", { class: "f3", x: 18, y: 3, width: 15, height: 10 }));
    item("read section that holds no set yet", bar("bar section"));
    item("set that readers find", bar("bar set active f0"));
    item("set that they do not find", bar("bar set f0"));
    const pattern = draw("defs");
    pattern.append(hatch("hatch-legend"));
    item("an INVALID slot", pattern, bar("bar set f0"), draw("rect", { fill: "url(#hatch-legend)", x: 1, y: 2, width: 32, height: 12 }));
    item("grace period", bar("bar grace-period"));
    item("waits for one", bar("bar synchronize"));
    item("it had to wait for this section", draw("path", { class: "arrow", d: "M2,3C30,3 28,8 16,14" }));
    if (data.arrows.some(([, , waited]) => !waited)) item("it did not wait for this section", draw("path", { class: "arrow not", d: "M2,3C30,3 28,8 16,14" }));
    item("call", bar("bar call"));
    item("has a lock", bar("bar lock"));
    item("may wait for one: somebody else had it since the task's last event", bar("bar lock-wait"));
    item("invalidation or zap", bar("bar invalidation"));
    item("a set is published", draw("line", { class: "swap f1", x1: 17, x2: 17, y1: 0, y2: 16 }));
    item("violation", draw("line", { class: "violation", x1: 17, x2: 17, y1: 0, y2: 16 }));
    item("a step that causes it", draw("line", { class: "cause", x1: 17, x2: 17, y1: 0, y2: 16 }));
    item("event", draw("circle", { class: "dot", cx: 17, cy: 8, r: 3 }));
  }

  function fromHash() {
    const found = /^#s(\d+)$/.exec(location.hash);
    if (!found) return false;
    const step = Number(found[1]);
    if (!inside(step)) {
      $("notice").hidden = false;
      $("notice").textContent = `step ${number(step)} is not in this picture, which has steps ${number(first)} to ${number(data.last)}; draw it with --from ${step}`;
    }
    go(step, { keepHash: true });
    return true;
  }
  data.spans.forEach((span, index) => { span.index = index; });
  head();
  filters();
  legend();
  keys();
  gestures();
  visibleSteps();
  arrange();
  const usual = narrow.matches ? 45 : 130;
  if (last - first > usual) view = { from: current - usual * .45, to: current + usual * .55 }; else view = { from: first - 1, to: last + 1 };
  keepInside();
  drawLanes();
  if (!fromHash()) go(current, { keepHash: true });
  addEventListener("hashchange", fromHash);
  let resizing = 0;
  addEventListener("resize", () => { cancelAnimationFrame(resizing); resizing = requestAnimationFrame(() => { arrange(); drawLanes(); tellSets(); }); });
})();
