/** Every importer by the name that users give it. */
import type { PhysicalAddress, PrivateAddress } from "../engine/addresses.js";
import { UnknownNameError } from "../engine/errors.js";
import { amdgpu } from "./amdgpu.js";
import { host1x } from "./host1x.js";
import { i915 } from "./i915.js";
import type { Importer } from "./importer.js";
import { kvm } from "./kvm.js";
import { mlx5 } from "./mlx5.js";
import { nouveau } from "./nouveau.js";
import { nvme } from "./nvme.js";
import { rdmaDevice, rdmaDevices } from "./rdma-devices.js";
import { xe } from "./xe.js";

/** An importer of any kind of address; `addresses` tells which. */
export type AnyImporter = Importer | Importer<PrivateAddress> | Importer<PhysicalAddress>;

const all: readonly AnyImporter[] = [
  mlx5(),
  mlx5({ mode: "ksm" }),
  mlx5({ mode: "klm" }),
  ...rdmaDevices.filter(({ pageSizes }) => pageSizes !== null).map(({ name }) => rdmaDevice(name)),
  xe(),
  i915(),
  i915({ generation: "gen8" }),
  i915({ generation: "gen9" }),
  i915({ generation: "xehp" }),
  amdgpu(),
  amdgpu({ generation: "gfx9" }),
  amdgpu({ generation: "gfx10" }),
  amdgpu({ generation: "gfx12" }),
  amdgpu({ generation: "gfx12.1" }),
  nouveau(),
  nouveau({ svm: true }),
  nouveau({ version: 1 }),
  nouveau({ version: 1, bigPageShift: 16 }),
  nouveau({ version: 3 }),
  nvme(),
  nvme({ mode: "sgl" }),
  kvm(),
  host1x(),
];

export const importers: ReadonlyMap<string, AnyImporter> = new Map(all.map((importer) => [importer.name, importer]));

/** A driver's name alone, where none of its importers has it, stands for the first. */
const byDriver: Readonly<Record<string, string>> = { nouveau: "nouveau-v2" };

/** The importer of this name. Throws `invalid`, naming the ones there are. */
export function findImporter(name: string): AnyImporter {
  const found = importers.get(byDriver[name] ?? name);
  if (found) return found;
  throw new UnknownNameError("importer", "importers", name, [...importers.keys()]);
}
