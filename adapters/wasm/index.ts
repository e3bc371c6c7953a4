// The light client of a Reprise rollup: checks what a server says of the state against the covenant's output on the L1, and believes
// neither server nor network. It runs wherever WebAssembly does.

/** A settlement, and where it is. Digests are 64 hexadecimal characters. */
export interface Settlement {
  statement: string;
  end_block: string;
  block: string;
}

/** What a server answers: the field `proof` of `/v1/accounts/{id}` and `/v1/resources/{id}`. */
export interface Answer {
  version: number;
  resource: string;
  value: string[] | null;
  path: { slot: string; entries: { resource: string; value: string }[]; siblings: string[] };
  state: { root: string; tip: string };
  settlement: Settlement | null;
}

/** The covenant that you trust: its id, and its rules in hexadecimal (`reprise account --verify --json` prints both). */
export interface Covenant {
  id: string;
  rules: string;
}

/** The covenant's unspent output, as an L1 node of your own shows it. */
export interface Shown {
  covenant: string;
  script: string;
  transaction: string;
  settlement: Settlement | null;
}

/** What the server says is not so, or is not settled any more. */
export class Lie extends Error {
  override name = "Lie";
}

interface Exports {
  memory: WebAssembly.Memory;
  input(length: number): number;
  check(): number;
  output(): number;
}

type Verdict = { value: string[] | null } | { lie: string } | { unclear: string };

export class LightClient {
  readonly #exports: Exports;

  private constructor(exports: Exports) {
    this.#exports = exports;
  }

  /** Makes a client from the bytes of `reprise_light.wasm`. It imports nothing. */
  static async load(wasm: BufferSource): Promise<LightClient> {
    const { instance } = await WebAssembly.instantiate(wasm, {});
    return new LightClient(instance.exports as unknown as Exports);
  }

  /**
   * Checks every field of an answer. Returns the cells of the value, or null where it is proved that there is none. Throws a
   * `Lie` where the answer is not true, and a `TypeError` where one of the four cannot be read.
   */
  check(asked: string, answer: Answer, covenant: Covenant, shown: Shown): string[] | null {
    const { memory, input, check, output } = this.#exports;
    const question = new TextEncoder().encode(JSON.stringify({ asked, answer, covenant, shown }));
    // Memory may grow with each call, and its buffer is another one then.
    const at = input(question.length);
    new Uint8Array(memory.buffer).set(question, at);
    const length = check();
    const begin = output();
    const text = new TextDecoder().decode(new Uint8Array(memory.buffer).slice(begin, begin + length));
    const verdict = JSON.parse(text) as Verdict;
    if ("lie" in verdict) throw new Lie(verdict.lie);
    if ("unclear" in verdict) throw new TypeError(verdict.unclear);
    return verdict.value;
  }
}

/** The balance, in sompi, and the nonce of an account of the ledger. One that does not exist has 0 and 0. */
export function account(value: string[] | null): { balance: bigint; nonce: bigint } {
  if (value === null) return { balance: 0n, nonce: 0n };
  const [cell] = value;
  if (value.length !== 1 || cell === undefined) throw new TypeError("the resource holds no account of the ledger");
  const bytes = Uint8Array.from(cell.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const view = new DataView(bytes.buffer);
  if (bytes.length !== 32 || bytes.slice(16).some((byte) => byte !== 0)) {
    throw new TypeError("the resource holds no account of the ledger");
  }
  return { balance: view.getBigUint64(0, true), nonce: view.getBigUint64(8, true) };
}
