// What the map is drawn from: binary columns as pinlab/ui/columns.py packs them, and sets of rows as one bit each.
(() => {
  "use strict";
  const ARRAYS = { f4: Float32Array, u1: Uint8Array, u2: Uint16Array };

  // Strings by row, decoded when they are asked for: a hundred thousand titles are never all made at once.
  function strings(buffer, at, length) {
    const ends = new Uint32Array(buffer, at, length), body = at + 4 * length, decoder = new TextDecoder();
    return (row) => decoder.decode(new Uint8Array(buffer, body + (row ? ends[row - 1] : 0), ends[row] - (row ? ends[row - 1] : 0)));
  }

  // -> the header with `columns`: name -> typed array, or function from row to string.
  async function columns(url) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
    const buffer = await answer.arrayBuffer();
    const size = new DataView(buffer).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
    const found = {};
    for (const [name, { type, at, length }] of Object.entries(header.columns)) {
      found[name] = type === "text" ? strings(buffer, 4 + size + at, length) : new ARRAYS[type](buffer, 4 + size + at, length);
    }
    return { ...header, columns: found };
  }

  function fromBase64(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }

  // A set of rows. Reads and writes the same bits as pinlab/ui/selection.py.
  class Rows {
    constructor(count, base64 = "") {
      this.bits = base64 ? fromBase64(base64) : new Uint8Array((count + 7) >> 3);
    }
    has(row) { return (this.bits[row >> 3] >> (row & 7)) & 1; }
    set(row, on = true) { if (on) this.bits[row >> 3] |= 1 << (row & 7); else this.bits[row >> 3] &= ~(1 << (row & 7)); }
    list() {
      const rows = [];
      for (let i = 0; i < this.bits.length; i += 1) {
        for (let byte = this.bits[i], bit = 0; byte; byte >>= 1, bit += 1) if (byte & 1) rows.push(8 * i + bit);
      }
      return rows;
    }
    base64() {
      let text = "";
      for (let i = 0; i < this.bits.length; i += 8192) text += String.fromCharCode(...this.bits.subarray(i, i + 8192));
      return btoa(text);
    }
  }

  Object.assign(window.PinLab, { columns, fromBase64, Rows });
})();
