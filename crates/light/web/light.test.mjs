// The module in node, over the vectors of `crates/light` (vectors.json): it believes what is true, and refuses each lie by name.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { LightClient, Lie, account } from "./light.js";

const read = (name) => readFile(new URL(name, import.meta.url));
const { covenant, present, absent } = JSON.parse(await read("vectors.json"));
const client = await LightClient.load(await read("reprise-light-web.wasm"));
const check = ({ asked, answer, shown }) => client.check(asked, answer, covenant, shown);

test("an account that is there is believed, with its balance", () => {
  assert.deepEqual(account(check(present)), { balance: 1_100_000_000n, nonce: 7n, fees: 0n });
});

test("an account that is not there is believed to be absent", () => {
  assert.equal(check(absent), null);
  assert.deepEqual(account(null), { balance: 0n, nonce: 0n, fees: 0n });
});

/** Every way to change one field of a value. */
function* lies(value, path = []) {
  if (typeof value === "string") {
    const other = value.startsWith("0") ? "1" : "0";
    yield [path, other + value.slice(1)];
    yield [path, value.slice(0, -1) + (value.endsWith("0") ? "1" : "0")];
  } else if (typeof value === "number") {
    yield [path, value + 1];
  } else if (Array.isArray(value)) {
    if (value.length > 0) yield [path, value.slice(1)];
    yield [path, [...value, value.at(-1) ?? "00".repeat(32)]];
    for (const [at, item] of value.entries()) yield* lies(item, [...path, at]);
  } else if (value !== null) {
    for (const [name, item] of Object.entries(value)) yield* lies(item, [...path, name]);
    yield [[...path, "more"], "unchecked"];
    if (path.length > 0) yield [path, null];
  }
}

function changed(value, [name, ...rest], to) {
  const copy = structuredClone(value);
  if (rest.length === 0) copy[name] = to;
  else copy[name] = changed(copy[name], rest, to);
  return copy;
}

for (const [name, told] of Object.entries({ present, absent })) {
  test(`every lie about what is ${name} is refused`, () => {
    let refused = 0;
    for (const [path, to] of lies(told.answer)) {
      if (path.length === 0) continue;
      const lying = { ...told, answer: changed(told.answer, path, to) };
      assert.throws(() => check(lying), Error, `${path.join(".")} = ${to}`);
      refused += 1;
    }
    assert.ok(refused > 150, `${refused} lies`);
  });
}

test("an answer of another resource, covenant or output is refused", () => {
  const lie = (told, trusted = covenant) => assert.throws(() => client.check(told.asked, told.answer, trusted, told.shown), Lie);
  lie({ ...present, asked: absent.asked });
  lie(present, { ...covenant, id: "77".repeat(32) });
  lie(present, { ...covenant, rules: covenant.rules.slice(2) });
  lie({ ...present, shown: { ...present.shown, settlement: null } });
  assert.throws(() => client.check(present.asked, present.answer, { ...covenant, rules: "0" }, present.shown), /odd number/);
  // And the client is none the worse for it.
  assert.notEqual(check(present), null);
});
