// What a page calls modules with. `client.d.mts` has the types.

const utf8 = new TextEncoder();
const text = new TextDecoder();

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** A module: one call, JSON in and JSON out. */
export class Module {
  #exports;

  constructor(instance) {
    this.#exports = instance.exports;
  }

  static async load(source) {
    const module = source instanceof Response ? await source.arrayBuffer() : source;
    const { instance } = await WebAssembly.instantiate(module, {});
    return new this(instance);
  }

  call(request) {
    const { memory, request: room, answer, answered } = this.#exports;
    const asked = utf8.encode(JSON.stringify(request));
    // The memory may move whenever the module runs.
    const at = room(asked.length);
    new Uint8Array(memory.buffer).set(asked, at);
    const length = answer();
    const told = JSON.parse(text.decode(new Uint8Array(memory.buffer, answered(), length)));
    if ("error" in told) throw new Error(told.error);
    return told.ok;
  }
}

/** The client of a workload. */
export class Workload extends Module {
  encode(message) {
    return bytes(this.call({ call: "encode", with: { message } }));
  }

  decode(message) {
    return this.call({ call: "decode", with: { bytes: hex(message) } });
  }

  payload(covenant, opening, message) {
    return bytes(this.call({ call: "payload", with: { covenant, opening: hex(opening), message } }));
  }

  read(covenant, payload) {
    return this.call({ call: "read", with: { covenant, payload: hex(payload) } });
  }

  touches({ account, deposit, price }, message) {
    return this.call({ call: "touches", with: { account, deposit: String(deposit), message, price } });
  }

  foresee({ account, deposit, price }, message, values, block) {
    const given = { account, deposit: String(deposit), message, values, block, price };
    return this.call({ call: "foresee", with: given });
  }

  value(cells) {
    return this.call({ call: "value", with: { cells } });
  }
}
