"use strict";
// The status, drawn. Text from homes and configuration only ever becomes text, never markup.
const PHASES = ["open", "A", "B", "C"];
const $ = id => document.getElementById(id);

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  return made;
}

function row(body, cells) {
  const made = body.insertRow();
  for (const [text, className] of cells) {
    const cell = made.insertCell();
    cell.textContent = text;
    if (className) cell.className = className;
  }
  return made;
}

const count = (n, one, many) => n + " " + (n === 1 ? one : many || one + "s");
const clock = s => new Date(1000 * s).toLocaleTimeString([], {hour12: false});
const share = x => (100 * x).toFixed(0) + " %";

function bar(part, className) {
  const outer = element("div", "bar"), inner = element("i", className);
  inner.style.width = Math.round(100 * Math.min(1, Math.max(0, part))) + "%";
  outer.append(inner);
  return outer;
}

function card(title, value, part, className) {
  const made = element("div", "card");
  made.append(title, element("b", "", value));
  if (part !== undefined) made.append(bar(part, className));
  $("cards").append(made);
}

function problems(s) {
  const bad = [];
  if (s.late_loops.length) bad.push("late: " + s.late_loops.join(", "));
  for (const b of s.buses)
    if (b.state !== "open") bad.push(`bus ${b.name}: ${b.state} ${b.last_error || ""}`);
  for (const b of s.buses) {
    if (b.alarm) bad.push(`radio ${b.name} ${b.alarm}`);
    if (b.forged) bad.push(`radio ${b.name}: ${b.forged} false beacons in this site's name`);
  }
  if (s.why_no_commands) bad.push("nothing is ordered: " + s.why_no_commands);
  if (s.homes_quarantined) bad.push(count(s.homes_quarantined, "home") + " in quarantine");
  const key = s.group_key;
  if (key && key.alarm.length) bad.push("without the group key: " + key.alarm.join(", "));
  for (const r of s.residual ? s.residual.alarms : [])
    bad.push((r.home ? `home ${r.home} ` : "transformer: ") + r.why);
  for (const h of s.homes) if (h.doubted) bad.push(`home ${h.address} in doubt: ${h.doubted}`);
  return bad;
}

function tell(id, text) {
  $(id).hidden = !text;
  $(id).textContent = text;
}

function cards(s) {
  $("cards").replaceChildren();
  card("neutral current", s.neutral_current_a.toFixed(1) + " A");
  const limit = s.phase_limit_a, top = limit || Math.max(1, ...s.phase_currents_a);
  s.phase_currents_a.forEach((a, i) => card(
    `phase ${PHASES[i + 1]}, ${count(s.phase_homes[i], "home")}` +
      (limit ? `, limit ${limit.toFixed(0)} A` : ""), a.toFixed(1) + " A", a / top,
    limit && a > limit ? "bad" : "p" + (i + 1)));
  card("moves confirmed", `${s.switches.confirmed} of ${s.switches.ordered}`);
  if (s.transformer)
    card("at the transformer", s.transformer.i.map(a => a.toFixed(0)).join(" / ") + " A");
  const key = s.group_key;
  if (key && key.next !== null)
    card(`group key ${key.next} to the homes`,
      `${key.homes_with_newest} of ${key.homes_with_newest + key.homes_behind.length}`);
}

function chart(s, moves) {
  const h = s.neutral_history, would = (s.planner.dry_run || {}).history || [];
  const svg = $("chart");
  svg.replaceChildren();
  if (h.length < 2) return;
  const t0 = h[0][0], t1 = h[h.length - 1][0];
  const inside = would.filter(x => x[0] >= t0);
  const most = Math.max(1, ...h.map(x => x[1]), ...inside.map(x => x[1]));
  const x = t => (t - t0) / (t1 - t0) * 900, y = a => 100 - 100 * a / most;
  const line = (points, className) => svg.append(shape("polyline", {class: className,
    points: points.map(p => x(p[0]).toFixed(1) + "," + y(p[1]).toFixed(1)).join(" ")}));
  const on = moves.filter(m => m.issued_s >= t0 && m.issued_s <= t1);
  for (const m of on) {
    const mark = shape("line", {class: "move", x1: x(m.issued_s), x2: x(m.issued_s), y1: 0, y2: 100});
    mark.append(shape("title", {}, `${clock(m.issued_s)} home ${m.home}: ${m.reason}`));
    svg.append(mark);
  }
  line(h, "now");
  if (inside.length > 1) line(inside, "would");
  $("top").textContent = most.toFixed(1) + " A";
  $("half").textContent = (most / 2).toFixed(1) + " A";
  $("from").textContent = clock(t0);
  $("to").textContent = clock(t1);
  $("chart-key").textContent = (on.length ? count(on.length, "move") + " marked" : "no moves") +
    (inside.length > 1 ? "; dashed: as it would be" : "");
}

function phasors(s) {
  const svg = $("phasors"), p = s.phase_phasors_a;
  svg.replaceChildren(shape("circle", {cx: 0, cy: 0, r: 100}), shape("circle", {cx: 0, cy: 0, r: 50}));
  const most = Math.max(1, ...p.map(z => Math.hypot(z[0], z[1])));
  let nx = 0, ny = 0;
  // Phase A points up, B and C follow clockwise by 120 degrees each.
  p.forEach(([re, im], i) => {
    const turn = -2 * Math.PI / 3 * i, cos = Math.cos(turn), sin = Math.sin(turn);
    const x = re * cos - im * sin, y = re * sin + im * cos;
    nx += x; ny += y;
    svg.append(shape("line", {class: "rest", x1: 0, y1: 0, x2: 100 * sin * -1, y2: -100 * cos}));
    svg.append(shape("line", {class: "p" + (i + 1), x1: 0, y1: 0, x2: -100 * y / most, y2: -100 * x / most}));
    svg.append(shape("text", {x: -106 * sin, y: -106 * cos + 4}, PHASES[i + 1]));
  });
  svg.append(shape("line", {class: "n", x1: 0, y1: 0, x2: -100 * ny / most, y2: -100 * nx / most}));
  $("phasor-key").textContent = `outer circle ${most.toFixed(1)} A; dashed: their sum, the neutral, ` +
    Math.hypot(nx, ny).toFixed(1) + " A";
}

function links(s) {
  const box = $("links");
  box.replaceChildren();
  for (const b of s.buses) {
    const homes = s.homes.filter(h => h.bus === b.name), alive = homes.filter(h => h.alive).length;
    const lost = homes.reduce((n, h) => n + h.lost, 0), due = lost + homes.reduce((n, h) => n + h.answers, 0);
    const made = element("div", "link");
    made.append(element("b", b.state === "open" ? "" : "bad", b.name),
      ` ${b.kind || ""} ${b.state}: ${alive} of ${count(homes.length, "home")} answer, ` +
      (due ? `${(100 * lost / due).toFixed(1)} % lost` : "starting") +
      (b.cycle_s ? `, all once in ${b.cycle_s.toFixed(2)} s` : "") +
      (b.neighbours ? `, ${count(b.neighbours, "other site")} on the channel` : ""));
    made.append(bar(homes.length ? alive / homes.length : 0, alive === homes.length ? "good" : "bad"));
    box.append(made);
  }
}

function moves(s, list) {
  const body = $("moves");
  body.replaceChildren();
  for (const m of list.slice().reverse().slice(0, 12))
    row(body, [[clock(m.issued_s)], [m.home], [PHASES[m.from], "p" + m.from],
      [PHASES[m.to], "p" + m.to], [m.state + (m.detail ? ": " + m.detail : ""),
        ["failed", "disagreed"].includes(m.state) ? "bad" : ""], [m.reason]]);
  const last = s.planner.last || {};
  $("decision").textContent = !s.planner.enabled ? "the planner is off" :
    last.time_s === undefined ? "none yet" :
    `${clock(last.time_s)}, ${last.cause}: ` + (
      last.would_move ? `${count(last.would_move.length, "move")} in a dry run, none ordered` :
      last.skipped ? "no plan, " + last.skipped : count(last.moves, "move")) +
      (last.held_back ? `, ${last.held_back} held back because they ` +
        "would hang on one home's word" : "");
}

function still(s) {
  const why = new Map();
  for (const h of s.homes) if (h.immovable)
    why.set(h.immovable, [...(why.get(h.immovable) || []), h.address]);
  const box = $("still");
  box.replaceChildren();
  if (!why.size) box.append("every home may be moved");
  for (const [text, who] of [...why].sort((a, b) => b[1].length - a[1].length))
    box.append(element("p", "", `${text}: ${count(who.length, "home")} (${who.slice(0, 20).join(", ")}` +
      `${who.length > 20 ? ", ..." : ""})`));
}

function heard(h) {
  const r = h.radio;
  if (!r) return "";
  return `${h.path || "silent"}: ${r.sf ? "SF" + r.sf : "no slot"}, ${r.rssi_dbm.toFixed(0)} dBm, ` +
    `SNR ${r.snr_db.toFixed(1)} dB, ${(100 * r.airtime_share).toFixed(2)} % of the air`;
}

function homes(s) {
  const body = $("homes");
  body.replaceChildren();
  for (const h of s.homes) {
    const note = [h.quarantined || h.doubted || h.immovable || "", heard(h)].filter(x => x).join(" | ");
    const made = row(body, [[h.address + (h.name ? " " + h.name : "")], [PHASES[h.phase], "p" + h.phase],
      [h.p_w === undefined ? "" : h.p_w.toFixed(0) + " W"],
      [h.vout_v === undefined ? "" : h.vout_v.toFixed(1) + " V"],
      [h.age_s === null ? "never" : h.age_s.toFixed(1) + " s", h.alive ? "" : "bad"], [h.lost]]);
    if (!note) continue;
    made.className = "remarked";
    const more = row(body, [[note]]);
    more.className = "remark";
    more.cells[0].colSpan = 6;
  }
}

function draw(s) {
  document.title = "pbal " + (s.site.name || s.site.id);
  $("title").textContent = s.site.name || "site " + s.site.id;
  $("sub").textContent = `${s.homes_alive} of ${count(s.homes_configured, "home")} answer, readings ` +
    `${s.telemetry_age_p95_s.toFixed(1)} s old at most (95 %), version ${s.version}`;
  tell("problem", problems(s).join(" | "));
  const dry = s.planner.dry_run;
  tell("dry", !dry ? "" : `Dry run: nothing is ordered. ${count(dry.moves, "move")} would have been ` +
    `made; mean neutral current ${dry.neutral_mean_a.toFixed(1)} A, it would be ` +
    `${dry.neutral_would_mean_a.toFixed(1)} A (${share(dry.neutral_loss_cut)} less loss in the neutral).`);
  const list = dry ? dry.last_moves : s.moves;
  cards(s);
  chart(s, list);
  phasors(s);
  links(s);
  moves(s, list);
  still(s);
  homes(s);
}

async function tick() {
  try {
    const answer = await fetch("/api/status");
    draw(await answer.json());
  } catch (error) {
    tell("problem", "the controller does not answer");
  }
  setTimeout(tick, 2000);
}
tick();
