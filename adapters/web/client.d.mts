/** 64 hexadecimal characters. */
export type Id = string;

/** A `u64` as a decimal string: a number of JavaScript is not one. */
export type Decimal = string;

/** The cells of a value, each an `Id`. */
export type Cells = string[];

/** A module: one call, JSON in and JSON out. */
export class Module {
  constructor(instance: WebAssembly.Instance);

  /** Loads a module: `await Module.load(await fetch("exchange.wasm"))`. */
  static load<M extends Module>(
    this: new (instance: WebAssembly.Instance) => M,
    source: Response | BufferSource,
  ): Promise<M>;

  /** Calls it. What is wrong with the request is thrown. */
  call(request: unknown): unknown;
}

/** Who sends a transaction, and what it pays to the rollup's deposit script, in sompi. */
export interface Sender {
  account: Id;
  deposit: bigint | Decimal;
  /** What the rollup pins as its price, where it takes one. */
  price?: { amount: number; collector: Id };
}

/** A block, for a message whose meaning depends on it. */
export interface Block {
  timestamp_ms: Decimal;
  daa_score: Decimal;
  blue_score: Decimal;
}

/** The transaction is disposed of, with this outcome: it has no effect. */
export interface Disposed {
  disposed: number;
}

/** What a transaction will do. An outcome of 0 is success; any other has no effects. */
export interface Effects {
  outcome: number;
  /** `null` deletes. */
  writes: { id: Id; cells: Cells | null }[];
  exits: { payee: Payee; amount: Decimal }[];
}

/** Whom an exit pays: a standard script of this class around these bytes. */
export interface Payee {
  class: "public_key" | "ecdsa_even" | "ecdsa_odd" | "script_hash";
  bytes: Id;
}

/** The client of a workload. */
export class Workload<Message, Value> extends Module {
  /** The bytes of a message. */
  encode(message: Message): Uint8Array;

  /** Reads a message; `null` where it is malformed. */
  decode(bytes: Uint8Array): Message | null;

  /** The payload of a lane transaction, behind the opening that shows whose it is. */
  payload(covenant: Id, opening: Uint8Array, message: Message): Uint8Array;

  /** The message in a payload; `null` where it is for another rollup or malformed. */
  read(covenant: Id, payload: Uint8Array): Message | null;

  /** The resources that a message touches, in order, and whether what it does depends on its block. */
  touches(sender: Sender, message: Message): { ids: Id[]; asks_context: boolean } | Disposed;

  /** What a message will do where resources have these values; `null` is an absent one. The block is needed where it asks for it. */
  foresee(sender: Sender, message: Message, values: Record<Id, Cells | null>, block?: Block): Effects | Disposed;

  /** Reads a value; `null` where it is none of the workload's. */
  value(cells: Cells): Value | null;
}
