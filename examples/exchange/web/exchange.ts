// The exchange's messages and values, as its module takes and gives them.
import { Workload, type Decimal, type Id, type Payee } from "./client.mjs";

export type Side = "buy" | "sell";

/** An action of a message: exactly one of these. */
export type Action =
  | { place: { number: Decimal; side: Side; price: Decimal; amount: Decimal; until: Decimal } }
  | { take: { owner: Id; number: Decimal; amount: Decimal } }
  | { cancel: { number: Decimal } }
  | { exit: { payee: Payee; amount: Decimal } }
  | { issue: { to: Id; amount: Decimal } };

/** One to three actions, which take effect together. */
export type Message = Action[];

/** What a resource holds. */
export type Held =
  | { account: { kas: Decimal; token: Decimal } }
  | { order: { owner: Id; side: Side; price: Decimal; left: Decimal; until: Decimal } };

/** Loads the exchange's module. */
export const load = (source: Response | BufferSource): Promise<Workload<Message, Held>> =>
  Workload.load<Workload<Message, Held>>(source);
