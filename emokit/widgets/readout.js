// The values at the playhead.

import { make } from "./elements.js";
import { formatValue } from "./geometry.js";

/** A table of the quantities by their source: what the lines mean, and their values now. */
export class Readout {
  constructor(parent, layout, data) {
    this.data = data;
    this.element = make("div", "ek-readout", parent);
    const panels = layout.panels.filter((panel) => panel.kind !== "heat");
    const series = panels.flatMap((panel) => [
      ...panel.series,
      ...(panel.strip ? [panel.strip] : []),
    ]);
    this.element.hidden = !series.length;
    this.sources = ["face", "voice", "fused"].filter((s) => series.some((x) => x.source === s));
    const table = make("table", "", this.element);
    const head = make("tr", "", make("thead", "", table));
    make("th", "", head, "at the playhead").scope = "col";
    this.swatches = [];
    for (const source of this.sources) make("th", "", head, source).scope = "col";
    const body = make("tbody", "", table);
    const rows = new Map();
    for (const one of series) rows.set(one.label, [...(rows.get(one.label) ?? []), one]);
    this.cells = [];
    for (const [label, members] of rows) {
      const row = make("tr", "", body);
      const name = make("th", "", row);
      name.scope = "row";
      const several = members.some((one) => one.color !== members[0].color);
      if (!several) this.swatches.push([make("i", "ek-swatch", name), members[0].color]);
      else make("i", "ek-swatch ek-none", name);
      const unit = members[0].unit ? ` (${members[0].unit})` : "";
      make("span", "", name, label + unit);
      for (const source of this.sources) {
        const cell = make("td", "", row);
        const one = members.find((member) => member.source === source);
        if (!one) continue;
        if (several) this.swatches.push([make("i", "ek-swatch ek-line", cell), one.color]);
        if (one.share) cell.classList.add("ek-share");
        this.cells.push({ series: one, cell, text: make("span", "", cell), shown: null });
      }
    }
    this.reason = make("div", "ek-reason", this.element);
    this.hasFace = this.sources.includes("face");
  }

  retheme(theme) {
    for (const [swatch, color] of this.swatches) swatch.style.background = theme.color(color);
    for (const { cell, series } of this.cells) {
      if (series.share) cell.style.setProperty("--ek-color", theme.color(series.color));
    }
  }

  show(t) {
    for (const entry of this.cells) {
      const value = this.data.value(entry.series, t);
      const text = formatValue(value, entry.series);
      if (text === entry.shown) continue;
      entry.shown = text;
      entry.text.textContent = text;
      if (entry.series.share) entry.cell.style.setProperty("--ek-value", value || 0);
    }
    const reason = this.hasFace ? this.data.reason("face", t) : "";
    if (this.reason.textContent !== reason) this.reason.textContent = reason;
  }
}
