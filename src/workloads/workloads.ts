/** The workloads there are. */
import { UnknownNameError } from "../engine/errors.js";
import { gpuShare } from "./gpu-share.js";
import { netRxRing } from "./net-rx-ring.js";
import { nvme } from "./nvme.js";
import { rdmaMr } from "./rdma-mr.js";
import { vfioGuest } from "./vfio-guest.js";
import type { Workload } from "./workload.js";

export const workloads: readonly Workload[] = [rdmaMr, gpuShare, nvme, netRxRing, vfioGuest];

/** The workload of this name. Throws `invalid`, naming the ones there are. */
export function findWorkload(name: string): Workload {
  const found = workloads.find((workload) => workload.name === name);
  if (found) return found;
  const names = workloads.map((workload) => workload.name);
  throw new UnknownNameError("workload", "workloads", name, names);
}
