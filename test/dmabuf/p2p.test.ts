/** How one PCI device reaches another's memory: cases worked out by hand from calc_map_type_and_dist(). */
import { expect, test } from "vitest";
import type { P2pMapType } from "../../src/dma/index.js";
import { type HostForwarding, type PciNode, p2pMapType } from "../../src/dmabuf/index.js";

const node = (name: string, upstream: PciNode | null, more: Partial<PciNode> = {}): PciNode => ({
  name,
  upstream,
  ...more,
});

const rootPort = node("0000:00:01.0", null);
const redirectingRoot = node("0000:00:03.0", null, { acsRedirect: true });
const up = node("0000:01:00.0", rootPort);
const plain = (name: string): PciNode => node(name, up);
const acs = (name: string): PciNode => node(name, up, { acsRedirect: true });
const gpu = node("gpu", plain("0000:02:00.0"));
const nic = node("nic", plain("0000:02:01.0"));
const gpuAcs = node("gpu", acs("0000:02:02.0"));
const nicAcs = node("nic", acs("0000:02:03.0"));
const deep = node("disk", node("0000:04:00.0", node("0000:03:00.0", plain("0000:02:04.0"))));
const elsewhere = node("nic", node("0000:00:02.0", null));
const socket = node("nic", node("0000:80:01.0", null, { hostBridge: "pci0000:80" }));
const underRedirecting = node("a", redirectingRoot);
const alsoThere = node("b", redirectingRoot);

test.each<[string, PciNode, PciNode, HostForwarding, P2pMapType]>([
  ["a device and itself", gpu, gpu, "none", "bus-addr"],
  ["two ports of one switch", gpu, nic, "none", "bus-addr"],
  ["a switch behind a switch", gpu, deep, "none", "bus-addr"],
  ["two functions under one root port", up, node("x", rootPort), "none", "bus-addr"],
  ["two functions under one root port that redirects", underRedirecting, alsoThere, "any", "thru-host-bridge"],
  ["a redirecting port above the provider", gpuAcs, nic, "any", "thru-host-bridge"],
  ["a redirecting port above the client", gpu, nicAcs, "any", "thru-host-bridge"],
  ["the same, and a host that forwards nothing", gpu, nicAcs, "none", "not-supported"],
  ["both ports redirect", gpuAcs, nicAcs, "same-host-bridge", "thru-host-bridge"],
  ["two root ports", gpu, elsewhere, "any", "thru-host-bridge"],
  ["two root ports of one host bridge", gpu, elsewhere, "same-host-bridge", "thru-host-bridge"],
  ["two root ports, nothing forwarded", gpu, elsewhere, "none", "not-supported"],
  ["two host bridges", gpu, socket, "any", "thru-host-bridge"],
  ["two host bridges, each for itself", gpu, socket, "same-host-bridge", "not-supported"],
])("%s", (_what, provider, client, host, type) => {
  expect(p2pMapType(provider, client, host)).toBe(type);
  expect(p2pMapType(client, provider, host)).toBe(type);
});
