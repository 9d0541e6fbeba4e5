import { type OnRead, openTrace } from "../trace/open.js";
import type { AddressType } from "../unit/request.js";
import { type Place, VectorError } from "./errors.js";
import { JsonRecord } from "./record.js";
import type { Expectation, ExpectedFault, FaultField, Specification, Vector, VectorRequest } from "./vector.js";

/**
 * The vectors of a file of JSON Lines, plain or gzip; "-" is standard input. Empty lines are skipped.
 * @throws VectorError naming the line that cannot be understood, after the vectors before it; TraceError when the file
 * cannot be read
 */
export async function* readVectors(source: string, onRead?: OnRead): AsyncGenerator<Vector> {
  const file = source === "-" ? "standard input" : source;
  let line = 0;
  for await (const text of linesOf(openTrace(source, onRead))) {
    line++;
    if (text.trim() !== "") yield parseVector(text, { file, line });
  }
}

async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  yield rest + decoder.decode();
}

/** One line of a file of vectors. Throws `VectorError`. */
export function parseVector(text: string, place: Place): Vector {
  const line = new JsonRecord(parseJson(text, place), "", place);
  const requests = line.records("requests").map(parseRequest);
  const expect = line.records("expect").map(parseExpectation);
  if (requests.length !== expect.length) {
    throw line.error("expect", `has ${expect.length} entries for ${requests.length} requests`);
  }
  return {
    place,
    id: line.text("id"),
    arch: line.text("arch"),
    tags: line.has("tags") ? line.texts("tags") : [],
    config: line.record("config"),
    memory: line.pairs("memory"),
    requests,
    expect,
    memoryAfter: line.has("memoryAfter") ? line.pairs("memoryAfter") : null,
  };
}

/** Throws `VectorError` with what the JSON parser says. */
export function parseJson(text: string, place: Place): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new VectorError(`not JSON: ${(cause as SyntaxError).message}`, place, { cause });
  }
}

const ADDRESS_TYPES: readonly string[] = ["untranslated", "translation", "translated"] satisfies AddressType[];

function parseRequest(request: JsonRecord): VectorRequest {
  const access = request.text("access");
  if (access !== "r" && access !== "w") throw request.error("access", `is "${access}", neither "r" nor "w"`);
  const type = request.has("type") ? request.text("type") : undefined;
  if (type !== undefined && !ADDRESS_TYPES.includes(type)) {
    throw request.error("type", `is "${type}", none of ${ADDRESS_TYPES.join(", ")}`);
  }
  const privileged = ["privileged", "priv"].find((name) => request.has(name));
  return {
    sid: request.identifier("sid"),
    iova: request.word("iova"),
    access,
    ...(request.has("pasid") ? { pasid: request.identifier("pasid") } : {}),
    ...(privileged === undefined ? {} : { privileged: request.flag(privileged) }),
    ...(request.has("execute") ? { execute: request.flag("execute") } : {}),
    ...(type === undefined ? {} : { type: type as AddressType }),
  };
}

function parseExpectation(entry: JsonRecord): Expectation {
  if (entry.has("pa") === entry.has("fault")) throw entry.error("pa", 'and "fault": exactly one must be there');
  return {
    answer: entry.has("pa") ? { pa: entry.word("pa") } : parseFault(entry.record("fault")),
    writes: entry.has("writes") ? entry.pairs("writes") : [],
    deviation:
      entry.has("deviates") && entry.flag("deviates")
        ? {
            why: entry.has("why") ? entry.text("why") : null,
            specification: parseSpecification(entry.record("spec")),
          }
        : null,
  };
}

function parseFault(fault: JsonRecord): ExpectedFault {
  const rest = fault.names().filter((name) => name !== "code" && name !== "name");
  return {
    code: parseCode(fault),
    name: fault.has("name") ? fault.text("name") : null,
    fields: Object.fromEntries(rest.map((name) => [name, parseFaultField(fault, name)])),
  };
}

function parseFaultField(fault: JsonRecord, name: string): FaultField {
  const value = fault.value(name);
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return BigInt(fault.number(name));
  const text = fault.text(name);
  return text.startsWith("0x") ? fault.word(name) : text;
}

function parseCode(record: JsonRecord): number | null {
  return record.value("code") === null ? null : record.number("code");
}

function parseSpecification(specification: JsonRecord): Specification {
  const [kind, another] = ["pa", "code", "anyOf"].filter((name) => specification.has(name));
  if (another !== undefined) throw specification.error(another, `and "${kind}": only one may be there`);
  if (kind === "pa") return { pa: specification.word("pa") };
  if (kind === "code") return { code: parseCode(specification) };
  return {
    anyOf: specification.numbers("anyOf"),
    orPa: specification.has("orPa") ? specification.word("orPa") : null,
  };
}
