/** How one PCI device reaches memory of another (drivers/pci/p2pdma.c, calc_map_type_and_dist). */
import type { P2pMapType } from "../dma/index.js";

/** A bridge or a device of the PCI hierarchy. */
export interface PciNode {
  readonly name: string;
  /** Nearest bridge towards the CPU; null above a root port. */
  readonly upstream: PciNode | null;
  /** ACS P2P Request Redirect of a bridge's port: requests between its peers go up to the host. Default false. */
  readonly acsRedirect?: boolean;
  /** Of a node without upstream: the host bridge it hangs on. Default "pci0000:00". */
  readonly hostBridge?: string;
}

/** Between which devices the host forwards requests: all, those on one host bridge, none. */
export type HostForwarding = "any" | "same-host-bridge" | "none";

function pathUp(from: PciNode): PciNode[] {
  const path: PciNode[] = [];
  for (let node: PciNode | null = from; node !== null; node = node.upstream) path.push(node);
  return path;
}

function redirects({ acsRedirect = false }: PciNode): boolean {
  return acsRedirect;
}

/**
 * `bus-addr` when a bridge above both routes requests from one to the other, none on the way redirecting them;
 * `thru-host-bridge` when the host forwards them; else `not-supported`.
 */
export function p2pMapType(provider: PciNode, client: PciNode, host: HostForwarding = "any"): P2pMapType {
  const fromProvider = pathUp(provider);
  const fromClient = pathUp(client);
  const common = fromProvider.find((node) => fromClient.includes(node));
  if (common !== undefined) {
    const up = fromProvider.slice(0, fromProvider.indexOf(common) + 1);
    const down = fromClient.slice(0, fromClient.indexOf(common));
    if (![...up, ...down].some(redirects)) return "bus-addr";
  }
  if (host === "none") return "not-supported";
  const [one, other] = [fromProvider, fromClient].map((path) => path.at(-1)?.hostBridge ?? "pci0000:00");
  return host === "any" || one === other ? "thru-host-bridge" : "not-supported";
}
