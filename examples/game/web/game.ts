// The game's messages and values, as its module takes and gives them.
import { Workload, type Decimal, type Id } from "./client.mjs";

export type Action = "open" | { move: number } | "resign" | "claim";

export interface Message {
  game: Id;
  opponent: Id;
  action: Action;
}

/** What a resource holds. */
export type Played =
  | { game: { players: [Id, Id]; marks: [number, number]; since: Decimal } }
  | { record: { won: Decimal; lost: Decimal; drawn: Decimal } };

/** Loads the game's module. */
export const load = (source: Response | BufferSource): Promise<Workload<Message, Played>> =>
  Workload.load<Workload<Message, Played>>(source);
