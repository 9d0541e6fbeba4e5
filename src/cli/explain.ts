import { stat } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { packagedList, readDisputed } from "../conform/disputed.js";
import type { EngineFactory } from "../conform/model.js";
import { parseHex, parseRequesterId } from "../dump/fields.js";
import type { ListingFormat } from "../dump/listing-table.js";
import { Engine } from "../engine/engine.js";
import type { WasmExports } from "../engine/instance.js";
import { loadModule } from "../engine/load.js";
import { explainRequest } from "../explain/explain.js";
import { EXPLAINERS } from "../explain/explainers.js";
import { openMachine } from "../explain/machine.js";
import {
  explainedVectorDocument,
  explainedVectorText,
  explanationDocument,
  explanationText,
} from "../explain/report.js";
import { explainVector } from "../explain/vector.js";
import { oneOf, refuseUnused, wholeNumber } from "./arguments.js";
import { version } from "./version.js";

/** Said of a dump or a listing without a request. */
const MISSING = "error: --sid and --iova are needed: whose request to which address is to be explained?";

interface ExplainFlags {
  readonly id?: string;
  readonly entry?: number;
  readonly sid?: number;
  readonly pasid?: number;
  readonly iova?: bigint;
  readonly access: "r" | "w";
  readonly format?: ListingFormat;
  readonly levels?: number;
  readonly json?: boolean;
}

function requesterId(text: string): number {
  const sid = parseRequesterId(text);
  if (sid === null) throw new InvalidArgumentError("not a PCI device (BB:DD.F, or DDDD:BB:DD.F)");
  return sid;
}

function pasidNumber(text: string): number {
  const pasid = Number(parseHex(text) ?? wholeNumber(text));
  if (pasid > 0xfffff) throw new InvalidArgumentError("a PASID has 20 bits");
  return pasid;
}

function iovaNumber(text: string): bigint {
  const iova = parseHex(text);
  if (iova === null) throw new InvalidArgumentError('not a "0x" number of at most 64 bits');
  return iova;
}

async function isDirectory(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

export function addExplain(program: Command): void {
  const notOfVectors = (option: Option): Option => option.conflicts(["id", "entry"]);
  const command = program
    .command("explain")
    .summary("show one translation step by step")
    .description(
      "Shows every structure that a unit reads for a request, field by field, and the check that decides: of a request " +
        "to a dumped machine, or of the requests of a conformance vector, which are also judged.",
    )
    .argument("<input>", 'directory of a dump, Linux\'s domain_translation_struct, or vectors (JSON Lines; "-": stdin)')
    .option("--id <id>", "vector to explain (default: the first)")
    .option("--entry <n>", "the only request of the vector to show (default: all)", wholeNumber)
    .addOption(notOfVectors(new Option("--sid <BB:DD.F>", "device that makes the request").argParser(requesterId)))
    .addOption(notOfVectors(new Option("--iova <0xADDR>", "address that it puts on the bus").argParser(iovaNumber)))
    .addOption(notOfVectors(new Option("--pasid <n>", "PASID of the request (default: none)").argParser(pasidNumber)))
    .addOption(notOfVectors(oneOf(new Option("--access <kind>", "read or write"), ["r", "w"]).default("r")))
    .addOption(
      notOfVectors(
        oneOf(new Option("--format <name>", "of a listing that does not tell"), [
          "vtdss",
          "x86_64",
        ] satisfies ListingFormat[]),
      ),
    )
    .addOption(notOfVectors(new Option("--levels <n>", "of a listing that does not tell").argParser(wholeNumber)))
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  iommu-lab explain dump/ --sid 00:08.0 --iova 0x1000 --access w",
        "  iommu-lab explain /sys/kernel/debug/iommu/intel --sid 00:08.0 --iova 0x1000",
        "  iommu-lab explain vtd-scalable-ss.jsonl --id vtd-scalable-ss-dev-0000 --entry 1",
      ].join("\n"),
    )
    .action(async (input: string, flags: ExplainFlags) => {
      const module = await loadModule();
      const newEngine: EngineFactory = (options) =>
        new Engine(new WebAssembly.Instance(module, {}).exports as unknown as WasmExports, options);
      const asked = (["sid", "iova", "pasid", "format", "levels"] as const).some((name) => flags[name] !== undefined);
      const ofMachine = asked || (await isDirectory(input));
      if (!ofMachine) refuseUnused(command, ["access"], "is of a request with --sid and --iova");
      const text = ofMachine
        ? await machineText(command, newEngine, input, flags)
        : await vectorText(newEngine, input, flags);
      process.stdout.write(text);
    });
}

async function machineText(
  command: Command,
  newEngine: EngineFactory,
  path: string,
  { sid, pasid, iova, access, format, levels, json }: ExplainFlags,
): Promise<string> {
  if (sid === undefined || iova === undefined) return command.error(MISSING);
  const source = { sid, ...(pasid === undefined ? {} : { pasid }) };
  const unit = await openMachine(newEngine, path, source, {
    ...(format === undefined ? {} : { format }),
    ...(levels === undefined ? {} : { levels }),
  });
  const explanation = explainRequest(unit, { ...source, iova, access });
  if (!json) return `${explanationText(explanation)}\n`;
  const inputs = {
    path,
    sid: BigInt(sid),
    pasid: pasid ?? null,
    iova,
    access,
    format: format ?? null,
    levels: levels ?? null,
  };
  return explanationDocument(version, inputs, explanation);
}

async function vectorText(newEngine: EngineFactory, file: string, { id, entry, json }: ExplainFlags): Promise<string> {
  const explained = await explainVector(file, {
    explainers: EXPLAINERS,
    newEngine,
    disputed: await readDisputed(packagedList()),
    ...(id === undefined ? {} : { id }),
    ...(entry === undefined ? {} : { entry }),
  });
  if (!json) return `${explainedVectorText(explained)}\n`;
  return explainedVectorDocument(version, { file, id: id ?? null, entry: entry ?? null }, explained);
}
