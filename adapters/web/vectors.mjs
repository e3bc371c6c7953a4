// `vectors.mjs DIR MODULE VECTORS`: a module answers each vector as the file says.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [dir, name, vectors] = process.argv.slice(2);
const { Workload } = await import(pathToFileURL(`${dir}/client.mjs`));
const workload = await Workload.load(await readFile(`${dir}/${name}`));

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));

/** The same by the methods that a page calls. */
const methods = {
  encode: ({ message }) => hex(workload.encode(message)),
  decode: (given) => workload.decode(bytes(given.bytes)),
  payload: ({ covenant, opening, message }) => hex(workload.payload(covenant, bytes(opening), message)),
  read: ({ covenant, payload }) => workload.read(covenant, bytes(payload)),
  touches: ({ account, deposit, message }) => workload.touches({ account, deposit: BigInt(deposit) }, message),
  foresee: ({ account, deposit, message, values, block }) =>
    workload.foresee({ account, deposit: BigInt(deposit) }, message, values, block),
  value: ({ cells }) => workload.value(cells),
};

const all = JSON.parse(await readFile(vectors, "utf8"));
for (const { request, answer } of all) {
  const told = () => methods[request.call](request.with);
  if ("error" in answer) assert.throws(told, Error);
  else assert.deepEqual(told(), answer.ok, JSON.stringify(request));
}
assert.throws(() => workload.call({ call: "no such call" }), /unknown variant/);
console.log(`${name}: ${all.length} vectors`);
