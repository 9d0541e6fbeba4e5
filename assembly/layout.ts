/**
 * Numbers that both sides of the WASM border must agree on: record layouts (byte offsets), status codes, kinds.
 * Plain integer constants only, so that AssemblyScript and TypeScript both compile this file.
 */

// ---- Operation stream: what a trace becomes (src/trace/) and what a replay consumes (assembly/replay/). ----
/** One operation, fixed size. Offsets in bytes. */
export const OPERATION_BYTES = 48;
/** u32: OPERATION_MAP or OPERATION_UNMAP. */
export const OPERATION_KIND = 0;
/** u32: dense index of the IOVA space (domain) the operation belongs to. */
export const OPERATION_DOMAIN = 4;
/** u32: slot of the allocation; free for re-use after its last byte is unmapped. */
export const OPERATION_SLOT = 8;
/** u32, map only: how many pieces of the piece stream belong to it. */
export const OPERATION_PIECES = 12;
/** u64, map: the recorded IOVA; unmap: offset of the range within its allocation, in bytes. */
export const OPERATION_ADDRESS = 16;
/** u64: length in bytes, a multiple of 4096. */
export const OPERATION_LENGTH = 24;
/** f64: the trace's timestamp in nanoseconds. */
export const OPERATION_TIME = 32;
/** u32: the CPU that it happened on. */
export const OPERATION_CPU = 40;

export const OPERATION_MAP = 1;
export const OPERATION_UNMAP = 2;

/** One piece: physically contiguous, mapped behind its predecessor in IOVA order. */
export const PIECE_BYTES = 16;
/** u64: physical address. */
export const PIECE_PHYSICAL = 0;
/** u64: length in bytes. */
export const PIECE_LENGTH = 8;

// ---- Leaves of a table by address: assembly/table/leaves.ts. ----
/** Adjacent leaves of one size. */
export const LEAF_RANGE_BYTES = 24;
/** u64: where the first begins. */
export const LEAF_RANGE_IOVA = 0;
/** u64: bytes of all of them. */
export const LEAF_RANGE_LENGTH = 8;
/** u32: level of the table that they are entries of, 1 is the last. */
export const LEAF_RANGE_LEVEL = 16;

// ---- Status of a software operation on a table, on physical memory or on an IOVA space. ----
export const STATUS_OK = 0;
/** An address or a length is not a multiple of the granule, or a length is zero. */
export const STATUS_MISALIGNED = 1;
/** The range leaves the table's input range, or the IOVA space. */
export const STATUS_INPUT_RANGE = 2;
/** The range leaves the physical addresses that the table's entries may hold. */
export const STATUS_OUTPUT_RANGE = 3;
/** Something is mapped (or reserved) there already. */
export const STATUS_OVERLAP = 4;
/** Nothing is mapped there. */
export const STATUS_HOLE = 5;
/** The range begins inside a leaf. */
export const STATUS_INSIDE_LEAF = 6;
/** The permissions cannot be expressed in this format. */
export const STATUS_PERMISSIONS = 7;
/** An entry points to physical memory that nobody backs. */
export const STATUS_BUS_ERROR = 8;
/** wasm32's 4 GiB of linear memory are used up. */
export const STATUS_MEMORY_EXHAUSTED = 9;
/** No free range of the IOVA space satisfies the request. */
export const STATUS_SPACE_EXHAUSTED = 10;
/** The given range is not one that was allocated. */
export const STATUS_NOT_ALLOCATED = 11;
/** The request itself makes no sense (unknown format, impossible number of levels, alignment not a power of two). */
export const STATUS_INVALID = 12;
/** A frame would lie in the window that the table arena grows into. */
export const STATUS_ARENA_CONFLICT = 13;

// ---- Permissions of a mapping and kinds of access, as bits. ----
export const ACCESS_READ = 1;
export const ACCESS_WRITE = 2;
/** Access: by a privileged requester. Mapping: for privileged requesters only (Linux's IOMMU_PRIV). */
export const ACCESS_PRIVILEGED = 4;
/** Access: instruction fetch. */
export const ACCESS_EXECUTE = 8;
/** Access: by a walk of the first stage, to an entry of its tables. */
export const ACCESS_WALK = 16;
/** Mapping: no instruction fetch (Linux's IOMMU_NOEXEC), where the format can say so. */
export const PERMISSION_NO_EXECUTE = 8;
/** Mapping: leaves that fill an aligned run are marked as contiguous, where the format can say so. */
export const PERMISSION_CONTIGUOUS = 16;

// ---- Outcome of a hardware walk: which check failed. A unit translates these to its architecture's codes. ----
export const WALK_OK = 0;
/** The input address is outside what the table translates. */
export const WALK_INPUT_RANGE = 1;
/** The first table cannot be read. */
export const WALK_ROOT_ACCESS = 2;
/** A table below the first cannot be read. */
export const WALK_TABLE_ACCESS = 3;
/** An entry is not present, or the rights accumulated so far grant nothing. */
export const WALK_NOT_PRESENT = 4;
/** A reserved bit is set in a present entry, or its encoding is reserved. */
export const WALK_RESERVED = 5;
/** An entry's output address exceeds the output size. */
export const WALK_OUTPUT_RANGE = 6;
/** The access flag is clear. */
export const WALK_ACCESS_FLAG = 7;
export const WALK_NO_READ = 8;
export const WALK_NO_WRITE = 9;
/** The requester is unprivileged and the entry is for privileged ones only. */
export const WALK_NO_USER = 10;
export const WALK_NO_EXECUTE = 11;
/** An accessed or dirty flag must be set in an entry that cannot be written. */
export const WALK_UPDATE_FAILED = 12;
/** An accessed or dirty flag must be set, and the table may not be updated (TABLE_UPDATES_REFUSED). */
export const WALK_UPDATE_REFUSED = 13;
/** An accessed or dirty flag must be set, and the second stage does not let the entry be written. */
export const WALK_UPDATE_DENIED = 14;

/** Which stage's check failed, in bits 7:6 of the status word: the table's own; the second stage, for the output of the */
/** first; the second stage, for an entry of the first. */
export const WALK_SECOND_STAGE_OUTPUT = 1 << 6;
export const WALK_SECOND_STAGE_TABLE = 2 << 6;

/**
 * Walk status word: bits 5:0 outcome, 7:6 stage, 11:8 level (1 = last table; of the first stage), 17:12 log2 of the leaf
 * size (the smaller of two stages), 31:24 entries read.
 */
export const WALK_OUTCOME_MASK = 0x3f;
export const WALK_LEVEL_SHIFT = 8;
export const WALK_SIZE_SHIFT = 12;
export const WALK_READS_SHIFT = 24;

/** One entry that a precise walk read (assembly/table/walk.ts), offsets in bytes. */
export const READ_BYTES = 24;
/** u64: where it is in memory; u64: what it is. */
export const READ_ADDRESS = 0;
export const READ_ENTRY = 8;
/** u32: the table whose walk read it. */
export const READ_TABLE = 16;
/** u32: its level, and READ_BACKED when there is memory at that address. */
export const READ_LEVEL = 20;
export const READ_BACKED = 1 << 8;

/** Which accesses a translation allows, as bits: read, write, execute; above them the same for privileged requesters. */
export const GRANT_READ = 1;
export const GRANT_WRITE = 2;
export const GRANT_EXECUTE = 4;
export const GRANT_PRIVILEGED_SHIFT = 3;

/** Header of every kind of batch. */
export const BATCH_BYTES = 48;

// ---- A batch of walks, offsets of its header in bytes; every field a u32. Arrays have one element per request. ----
export const WALK_BATCH_COUNT = 0;
/** Kind of access of every request, unless WALK_BATCH_ACCESSES is given. */
export const WALK_BATCH_ACCESS = 4;
/** Linear address of u64[]: IOVAs. */
export const WALK_BATCH_IOVA = 8;
/** Linear address of u64[]: physical addresses out. */
export const WALK_BATCH_PHYSICAL = 12;
/** Linear address of u32[]: status words out, 16-byte aligned. */
export const WALK_BATCH_STATUS = 16;
/** Linear address of u8[]: kind of access per request, or 0. */
export const WALK_BATCH_ACCESSES = 20;

// ---- A remapping unit's translation (assembly/unit/), offsets in bytes. ----
/** What the requests of one source go through, resolved from its configuration entries. */
export const REGIME_BYTES = 376;
/** u32: the table that the input address goes through first, or 0: it passes untranslated; its format. */
export const REGIME_TABLE = 0;
export const REGIME_FORMAT = 4;
/** u32: kinds of access (ACCESS_*) that are taken from, and then added to, those of every request. */
export const REGIME_ACCESS_CLEAR = 8;
export const REGIME_ACCESS_SET = 12;
/** u32: the kinds of access whose walks may be ordinary ones, bit n = kind n. */
export const REGIME_ORDINARY = 16;
/** u32: REGIME_* flags. */
export const REGIME_FLAGS = 20;
/** u64: with the input address, what an IOTLB entry is found by; u64: what it is invalidated by. */
export const REGIME_TAG = 24;
export const REGIME_OWNER = 32;
/** The bit of an IOTLB entry's owner that says that the translation is global (SMMUv3: nG is 0). */
export const OWNER_GLOBAL_BIT = 63;
/** u64: how many bytes from FEE0_0000h on are refused as output. */
export const REGIME_REFUSED_SPAN = 40;
/** u64: highest address that passes untranslated. */
export const REGIME_LAST = 48;
/** u32: the table of the upper half of the input addresses, with REGIME_TWO_HALVES. */
export const REGIME_UPPER_TABLE = 56;
/** u32: the regime that memory describes by now, which is this one unless its entries have changed; 0: none. */
export const REGIME_NOW = 60;
/** What an ordinary walk's entries look like, by ACCESS_READ, ACCESS_WRITE and ACCESS_PRIVILEGED of the request. */
export const REGIME_PATTERNS = 64;
export const PATTERN_COUNT = 8;
/** u64 pairs: tag and owner of paging-structure entries of the first and the second stage, and of nested translations. */
export const REGIME_WALK_TAGS = 320;
export const WALK_TAG_FIRST = 0;
export const WALK_TAG_SECOND = 16;
export const WALK_TAG_NESTED = 32;
/** u32: 1 + the index of its context entry (STE) and of its PASID entry (CD) in the caches of these, or 0. */
export const REGIME_CONTEXT = 368;
export const REGIME_PASID = 372;
export const PATTERN_BYTES = 32;
/** u64: mask and expected value of an entry that points to a table. */
export const PATTERN_TABLE_MASK = 0;
export const PATTERN_TABLE_EXPECTED = 8;
/** u64: bits that must be set in a leaf, and bits that must be clear besides the reserved ones. */
export const PATTERN_LEAF_REQUIRED = 16;
export const PATTERN_LEAF_DENIED = 24;

/** Privileged requests are refused (PASID entry's SRE is 0), and those that ask for execution (ECAP.ERS is 0). */
export const REGIME_REFUSES_PRIVILEGED = 1 << 0;
export const REGIME_REFUSES_EXECUTE = 1 << 1;
/** An output address in FEE0_0000h-FEEF_FFFFh is refused (VT-d section 5.1.4). */
export const REGIME_REFUSES_INTERRUPT_RANGE = 1 << 2;

/** Bit 55 of the input address says which of two tables translates it, or faults where there is none. */
export const REGIME_TWO_HALVES = 1 << 3;
/** Bits 63:56 of an address of that half are ignored. */
export const REGIME_LOWER_IGNORES_TOP_BYTE = 1 << 4;
export const REGIME_UPPER_IGNORES_TOP_BYTE = 1 << 5;
/** An input address above REGIME_LAST is refused even where there is a table. */
export const REGIME_LIMITS_INPUT = 1 << 6;
/** An access is one thing: a write, or an instruction fetch, or a read (SMMUv3 section 13.1.2: writes are data). */
export const REGIME_ONE_KIND = 1 << 7;
/** The table of the lower, of the upper half translates nothing for unprivileged accesses (SMMUv3 CD.E0PD0, E0PD1). */
export const REGIME_LOWER_UNPRIVILEGED_DISABLED = 1 << 8;
export const REGIME_UPPER_UNPRIVILEGED_DISABLED = 1 << 9;
/** An entry that it was resolved from is not cached any more: it only serves requests that the IOTLB answers. */
export const REGIME_IOTLB_ONLY = 1 << 10;
/** Its entries have just been looked up, for the request that it was resolved for. */
export const REGIME_LOOKED_UP = 1 << 11;

/** Addresses that are interrupt messages, FEE0_0000h-FEEF_FFFFh (VT-d section 3.14): the first, and how many bytes. */
export const INTERRUPT_FIRST = 0xfee0_0000;
export const INTERRUPT_SPAN = 0x10_0000;

/** Outcomes of a unit besides those of a walk. */
/** The request is privileged, and the regime refuses it. */
export const UNIT_PRIVILEGED = 32;
/** The request asks for execution, and the regime refuses it. */
export const UNIT_EXECUTE = 35;
/** The output address lies in the interrupt range; a walk of a table with TABLE_REFUSES_INTERRUPT_RANGE says so too. */
export const UNIT_INTERRUPT_RANGE = 33;
/** The address passes untranslated, and is beyond what exists. */
export const UNIT_BEYOND = 34;
/** The answer is not the translation's: the architecture's own side found the fault. */
export const UNIT_OTHER = 36;

/** One remapping unit. */
export const UNIT_BYTES = 128;
/** u64 counters: requests; look-ups and hits of the IOTLB; entries that walks read. */
export const UNIT_REQUESTS = 0;
export const UNIT_IOTLB_LOOKUPS = 8;
export const UNIT_IOTLB_HITS = 16;
export const UNIT_ENTRIES_READ = 24;
/** u32: regimes of sources below 2^16 without PASID: 256 tables of 256, by bus and by device and function. */
export const UNIT_SOURCES = 32;
/** u32: first and last input address that requests without PASID may not have (the unit's own side answers them). */
export const UNIT_INTERCEPT_FIRST = 40;
export const UNIT_INTERCEPT_LAST = 48;
/** Regimes of all other sources: a map of assembly/memory/hash.ts, by source | (PASID + 1) << 32. */
export const UNIT_OTHERS = 56;
/** The IOTLB (assembly/cache/iotlb.ts). */
export const UNIT_IOTLB = 72;
/** u32: caches that take its place (SIMULATOR_*: set-associative IOTLBs, paging-structure caches), or 0. */
export const UNIT_CACHES = 88;

// ---- A batch of requests to a unit, offsets of its header in bytes; every field a u32. One array element a request. ----
export const UNIT_BATCH_COUNT = 0;
/** Kind of access of every request, unless UNIT_BATCH_ACCESSES is given. */
export const UNIT_BATCH_ACCESS = 4;
/** Linear address of u64[]: input addresses. */
export const UNIT_BATCH_IOVA = 8;
/** Linear address of u64[]: physical addresses out; on a fault of a walk the address of the entry. */
export const UNIT_BATCH_PHYSICAL = 12;
/** Linear address of u32[]: status words out, as those of a walk. */
export const UNIT_BATCH_STATUS = 16;
/** Linear address of u8[]: kind of access per request, or 0. */
export const UNIT_BATCH_ACCESSES = 20;
/** Linear address of u32[]: sources (requester IDs, StreamIDs). */
export const UNIT_BATCH_SOURCES = 24;
/** Linear address of u32[]: PASIDs, all ones where there is none; or 0. */
export const UNIT_BATCH_PASIDS = 28;
/** Which request is next; how many faults are in UNIT_BATCH_FAULTS, a u32[] of their indices. */
export const UNIT_BATCH_NEXT = 32;
export const UNIT_BATCH_FAULT_COUNT = 36;
export const UNIT_BATCH_FAULTS = 40;
/** Where stale accesses are noted (SANITIZER_*), or 0: nobody looks for them. */
export const UNIT_BATCH_SANITIZER = 44;
export const NO_PASID = 0xffffffff;

/** Why `unitTranslate` returned. */
export const UNIT_DONE = 0;
/** The regime of request UNIT_BATCH_NEXT is not known. */
export const UNIT_MISSING = 1;
/** Request UNIT_BATCH_NEXT has an intercepted address. */
export const UNIT_INTERCEPTED = 2;

// ---- A ring of stale accesses (assembly/unit/sanitizer.ts), offsets in bytes; every field a u32. ----
export const SANITIZER_BYTES = 16;
/** Linear address of the records, and how many there is room for: the oldest are overwritten. */
export const SANITIZER_RECORDS = 0;
export const SANITIZER_CAPACITY = 4;
/** How many were written so far. */
export const SANITIZER_WRITTEN = 8;
/** Number of software's last operation, which records bear. */
export const SANITIZER_OPERATION = 12;

/** One access that reached what it would not reach by the tables as they are in memory. */
export const STALE_BYTES = 64;
/** u64: its address; where it led; where memory says it leads, or all ones; whose entry translated it, as invalidations see it. */
export const STALE_IOVA = 0;
export const STALE_PHYSICAL = 8;
export const STALE_NOW = 16;
export const STALE_OWNER = 24;
/** u32: source, PASID (NO_PASID: none) and kind of access; SANITIZER_OPERATION; STALE_FROM_*. */
export const STALE_SOURCE = 32;
export const STALE_PASID = 36;
export const STALE_ACCESS = 40;
export const STALE_OPERATION = 44;
export const STALE_FROM = 48;
/** What the translation came from: a walk of the tables, an IOTLB entry, a walk that began in a cache. */
export const STALE_FROM_WALK = 0;
export const STALE_FROM_IOTLB = 1;
export const STALE_FROM_STRUCTURES = 2;

// ---- An IOTLB (assembly/cache/iotlb.ts), offsets in bytes. ----
export const IOTLB_ENTRY_BYTES = 32;
/** u32: its entries, and their number. */
export const IOTLB_ENTRIES = 0;
export const IOTLB_SETS = 4;
/** u64: log2 of the sizes of page that entries have, as bits. */
export const IOTLB_SIZES = 8;

// ---- A set-associative cache (assembly/cache/set-associative.ts), offsets in bytes; u32 unless said otherwise. ----
export const CACHE_BYTES = 104;
/** Linear addresses of fingerprints, tags, values and what the replacement policy remembers. */
export const CACHE_FINGERPRINTS = 0;
export const CACHE_TAGS = 4;
export const CACHE_VALUES = 8;
export const CACHE_ORDER = 12;
export const CACHE_SETS = 16;
export const CACHE_WAYS = 20;
/** Bytes of fingerprints of one set, a multiple of 16; bytes of CACHE_ORDER of one set. */
export const CACHE_STRIDE = 24;
export const CACHE_ORDER_STRIDE = 28;
/** REPLACEMENT_*. */
export const CACHE_REPLACEMENT = 32;
/** Entries in use. */
export const CACHE_LIVE = 36;
/** u64: state of the random policy's generator. */
export const CACHE_RANDOM = 40;
/** u64: log2 of the sizes of page that entries have had since the last invalidation, as bits. */
export const CACHE_SIZES = 48;
/** u64: log2 of the sizes of page that the cache takes, as bits. */
export const CACHE_HOLDS = 56;
/** u64: key and tag of the entry that the last fill replaced. */
export const CACHE_VICTIM_KEY = 64;
export const CACHE_VICTIM_TAG = 72;
/** u64: uses that a policy has been told of. */
export const CACHE_USES = 88;
/** An entry's index is its set << this | its way. */
export const CACHE_WAY_BITS = 80;
/** Linear address of the hints, u32 indices of entries, and which bits of a hash say how far behind it one lies. */
export const CACHE_HINTS = 84;
export const CACHE_HINT_MASK = 96;

/** What an entry holds (u64): the value; the rights that were granted down to it; what invalidations select it by. */
export const CACHED_BYTES = 24;
export const CACHED_VALUE = 0;
export const CACHED_RIGHTS = 8;
export const CACHED_OWNER = 16;

export const REPLACEMENT_LRU = 0;
export const REPLACEMENT_PLRU = 1;
export const REPLACEMENT_ROUND_ROBIN = 2;
export const REPLACEMENT_RANDOM = 3;

/** One use of a cache: looked up, and filled on a miss. u64 address, tag, owner, value in; key and tag of a victim out. */
export const CACHE_USE_BYTES = 56;
export const CACHE_USE_ADDRESS = 0;
export const CACHE_USE_TAG = 8;
export const CACHE_USE_OWNER = 16;
export const CACHE_USE_VALUE = 24;
export const CACHE_USE_VICTIM_KEY = 32;
export const CACHE_USE_VICTIM_TAG = 40;
/** u32: log2 of the page's size in; CACHE_HIT, CACHE_MISS or CACHE_REPLACED out. On a hit, CACHE_USE_VALUE is what was found. */
export const CACHE_USE_SHIFT = 48;
export const CACHE_USE_OUTCOME = 52;
export const CACHE_HIT = 0;
/** An empty way was filled. */
export const CACHE_MISS = 1;
/** The victim was replaced. */
export const CACHE_REPLACED = 2;

// ---- Translation of one or more devices' accesses through caches (assembly/access/simulate.ts), offsets in bytes. ----
export const SIMULATOR_BYTES = 520;
/** u32: caches, or 0. Four IOTLBs, each with its sizes of page. */
export const SIMULATOR_IOTLBS = 0;
export const SIMULATOR_IOTLB_COUNT = 4;
/** u32 by level of the entry that was read (2 to 5): paging-structure caches of the first and of the second stage. */
export const SIMULATOR_FIRST_CACHES = 16;
export const SIMULATOR_SECOND_CACHES = 40;
/** u32: second-stage translations of first-stage outputs and tables; context (STE) cache; PASID (CD) cache. */
export const SIMULATOR_NESTED = 64;
export const SIMULATOR_CONTEXT = 68;
export const SIMULATOR_PASID = 72;
/** u32: 1: the configuration is looked up before the IOTLB, as its tags need it (SMMUv3); 0: after an IOTLB miss (VT-d). */
export const SIMULATOR_CONFIGURATION_FIRST = 76;
/** u32[]: devices (DEVICE_*), and their number. */
export const SIMULATOR_DEVICES = 80;
export const SIMULATOR_DEVICE_COUNT = 84;
/** u64 counters, all of them from here to SIMULATOR_COUNTERS_END. */
export const SIMULATOR_COUNTERS = 96;
export const SIMULATOR_REQUESTS = 96;
export const SIMULATOR_IOTLB_LOOKUPS = 104;
export const SIMULATOR_IOTLB_HITS = 112;
export const SIMULATOR_CONTEXT_LOOKUPS = 120;
export const SIMULATOR_CONTEXT_HITS = 128;
export const SIMULATOR_PASID_LOOKUPS = 136;
export const SIMULATOR_PASID_HITS = 144;
export const SIMULATOR_NESTED_LOOKUPS = 152;
export const SIMULATOR_NESTED_HITS = 160;
/** Entries of context, PASID, stream and CD tables that were read. */
export const SIMULATOR_CONFIGURATION_READS = 168;
export const SIMULATOR_FAULTS = 176;
export const SIMULATOR_BYTES_MOVED = 184;
/** Per stage: walks; by level 1 to 5: entries read; look-ups and hits of the cache, of which a walk has one at most. */
export const SIMULATOR_FIRST_STAGE = 192;
export const SIMULATOR_SECOND_STAGE = 352;
export const STAGE_WALKS = 0;
export const STAGE_READS = 16;
export const STAGE_LOOKUPS = 64;
export const STAGE_HITS = 112;
/** Requests that read configuration. */
export const SIMULATOR_CONFIGURATION_MISSES = 512;
export const SIMULATOR_COUNTERS_END = 520;

/** One device (requester and address space) of a simulator. */
export const DEVICE_BYTES = 160;
/** u32: the tables of its two stages, or 0. */
export const DEVICE_FIRST = 0;
export const DEVICE_SECOND = 4;
/** u32: entries that a miss of the context (STE) and of the PASID (CD) cache reads; 0: the cache is not asked. */
export const DEVICE_CONTEXT_READS = 8;
export const DEVICE_PASID_READS = 12;
/** u64 pairs: what entries are found by beside the address, and what invalidations select them by. */
export const DEVICE_IOTLB = 16;
export const DEVICE_FIRST_TAG = 32;
export const DEVICE_SECOND_TAG = 48;
export const DEVICE_CONTEXT_TAG = 64;
export const DEVICE_PASID_TAG = 80;
export const DEVICE_NESTED_TAG = 96;
/** u64: the bit that marks a leaf as part of a contiguous run (0: none); u32 by level: log2 of the leaves of a run. */
export const DEVICE_CONTIGUOUS = 112;
export const DEVICE_CONTIGUOUS_RUN = 120;

// ---- A batch of accesses, offsets of its header in bytes; every field a u32. One array element an access. ----
export const ACCESS_BATCH_COUNT = 0;
/** Linear address of u64[]: IOVAs; u64[]: physical addresses out; u32[]: what they are; u32[]: status words out. */
export const ACCESS_BATCH_IOVA = 4;
export const ACCESS_BATCH_PHYSICAL = 8;
export const ACCESS_BATCH_WHAT = 12;
export const ACCESS_BATCH_STATUS = 16;
/** What an access is: bits 12:0 bytes, bit 15 a write, bits 31:16 index of the device. */
export const ACCESS_BYTES_MASK = 0x1fff;
export const ACCESS_IS_WRITE = 1 << 15;
export const ACCESS_DEVICE_SHIFT = 16;

// ---- An access stream (assembly/access/stream.ts), offsets in bytes; u64 unless said otherwise. ----
export const STREAM_BYTES = 128;
/** u32: STREAM_* kind; what every access is (ACCESS_BYTES_MASK, ACCESS_IS_WRITE, device). */
export const STREAM_KIND = 0;
export const STREAM_WHAT = 4;
/** The window, and how many bytes apart the addresses of a random stream are. */
export const STREAM_BASE = 8;
export const STREAM_LENGTH = 16;
export const STREAM_RANDOM = 24;
/** Where it is: bytes (sequential), accesses (all others). */
export const STREAM_CURSOR = 32;
/** Queues: u32 how many, and accesses in a row of one. */
export const STREAM_QUEUES = 40;
export const STREAM_BURST = 44;
/** Ring: base of descriptors and of completions; u32 bytes of either, entries, bytes of a buffer and of a packet. */
export const STREAM_DESCRIPTORS = 48;
export const STREAM_COMPLETIONS = 56;
export const STREAM_DESCRIPTOR_BYTES = 64;
export const STREAM_COMPLETION_BYTES = 68;
export const STREAM_ENTRIES = 72;
export const STREAM_BUFFER_BYTES = 76;
export const STREAM_PACKET_BYTES = 80;
/** Tiled: u32 bytes of a row of the surface; bytes of a row of a tile, rows of a tile, tiles in a row of the surface. */
export const STREAM_PITCH = 84;
export const STREAM_TILE_BYTES = 88;
export const STREAM_TILE_ROWS = 92;
export const STREAM_TILES = 96;

export const STREAM_SEQUENTIAL = 0;
export const STREAM_UNIFORM = 1;
export const STREAM_RING = 2;
export const STREAM_INTERLEAVED = 3;
export const STREAM_TILED = 4;

// ---- Accesses between the operations of a replay (assembly/access/traffic.ts), offsets in bytes. ----
export const TRAFFIC_BYTES = 88;
/** u32: handles of the replay, the simulator, the stream; linear address of the batch's header, and its capacity. */
export const TRAFFIC_REPLAY = 0;
export const TRAFFIC_SIMULATOR = 4;
export const TRAFFIC_STREAM = 8;
export const TRAFFIC_BATCH = 12;
export const TRAFFIC_CAPACITY = 16;
/** u32: bytes of a block of the stream; what a mapping has beside whole blocks is accessed in order. */
export const TRAFFIC_BLOCK = 20;
/** u32: 1, every mapping has a descriptor and a completion in a ring. */
export const TRAFFIC_RING = 24;
/** u32: 1, devices go through the first stage; 0, through the second. */
export const TRAFFIC_FIRST_STAGE = 28;
/** u32: 1, an unmap invalidates nothing by itself: a flush does. */
export const TRAFFIC_LAZY = 32;
/** u32: an invalidation is of 2^n naturally aligned pages, at most this n, or of a whole domain; all ones: of any range. */
export const TRAFFIC_MOST_ADDRESS_MASK = 36;
/** u32: array of domains' records. */
export const TRAFFIC_DOMAINS = 40;
/** u32: 1, an invalidation of a range drops paging-structure entries only where a table page was freed. */
export const TRAFFIC_HINTS = 44;
/** u64: bits of an owner by which a domain's entries are known, in the IOTLB and in paging-structure caches. */
export const TRAFFIC_IOTLB_MASK = 48;
export const TRAFFIC_WALK_MASK = 56;
/** u64 counters: invalidations of a range of pages, and of a whole domain; how often their completion was waited for. */
export const TRAFFIC_INVALIDATIONS = 64;
export const TRAFFIC_FLUSHES = 72;
export const TRAFFIC_WAITS = 80;
/** u32: flushes so far of its flush queue; slot of the mapping that is its ring, plus 1; bytes of the ring; packets so far. */
export const TRAFFIC_DOMAIN_BYTES = 16;
export const TRAFFIC_DOMAIN_FLUSHES = 0;
export const TRAFFIC_DOMAIN_RING = 4;
export const TRAFFIC_DOMAIN_RING_BYTES = 8;
export const TRAFFIC_DOMAIN_PACKETS = 12;
/** Bytes of an entry of a ring of descriptors, and of one of completions; the ring's halves are one and the other. */
export const TRAFFIC_DESCRIPTOR_BYTES = 64;
export const TRAFFIC_COMPLETION_BYTES = 16;

// ---- A batch of maps or unmaps. Results have one element per request. ----
export const CHANGE_BATCH_COUNT = 0;
/** Permissions of every map; flags (RECLAIM_EMPTY) of every unmap. */
export const CHANGE_BATCH_FLAGS = 4;
/** Linear address of u64[]: IOVAs. */
export const CHANGE_BATCH_IOVA = 8;
/** Linear address of u64[]: physical addresses (map only). */
export const CHANGE_BATCH_PHYSICAL = 12;
/** Linear address of u64[]: lengths in bytes in; bytes really mapped or unmapped out. */
export const CHANGE_BATCH_LENGTH = 16;
/** Linear address of u32[]: status out, in bits 7:0; in bits 31:8 the number of table pages freed. */
export const CHANGE_BATCH_STATUS = 20;

// ---- One table (assembly/table/table.ts), offsets in bytes. Arrays are indexed by level, 1 = last table. ----
export const TABLE_BYTES = 344;
export const TABLE_FORMAT = 0;
export const TABLE_LEVELS = 4;
export const TABLE_ROOT = 8;
export const TABLE_PAGE_SIZES = 16;
export const TABLE_INPUT_LAST = 24;
export const TABLE_OUTPUT_LAST = 32;
export const TABLE_FLAGS = 40;
/** u32: whether the first table was taken from the arena when the table was made. */
export const TABLE_OWNS_ROOT = 44;
/** u64 counters. */
export const TABLE_PAGES = 48;
export const TABLE_ENTRIES_WRITTEN = 56;
export const TABLE_ENTRIES_READ = 64;
/** u64[6]: leaves present. */
export const TABLE_LEAVES = 72;
/** u64[6]: bits that must be zero in an entry that points to a table. */
export const TABLE_RESERVED_TABLE = 120;
/** u64[6]: bits that must be zero in a leaf. */
export const TABLE_RESERVED_LEAF = 168;
/** u64: what the last map, unmap or walk says of where it stopped: an IOVA, or the physical address of an entry. */
export const TABLE_WHERE = 216;
/** u64: the entry at TABLE_WHERE, or the bytes that the last unmap really removed. */
export const TABLE_WHAT = 224;
/** u32[6]: leaves that the last unmap removed. */
export const TABLE_REMOVED = 232;
/** u32[6]: table pages that the last unmap freed, by the level of the table; [0]: all that the last map or unmap freed. */
export const TABLE_FREED = 256;
/** u32: the table that translates this one's addresses (nested translation), or 0: they are physical. */
export const TABLE_SECOND_STAGE = 280;
/** u64: the address, as this table gave it, that the second stage did not translate at the last fault. */
export const TABLE_INTERMEDIATE = 288;
/** u64[6]: runs of leaves that are marked as contiguous. */
export const TABLE_RUNS = 296;

/** Flags of every format, in TABLE_FLAGS above the format's own: hardware sets accessed flags, and dirty flags. */
export const TABLE_UPDATES_ACCESSED = 1 << 28;
export const TABLE_UPDATES_DIRTY = 1 << 29;
/** What it caches of its upper levels is the second stage's. */
export const TABLE_IS_SECOND_STAGE = 1 << 24;
/** An update that is needed is a fault instead: the walk is not snooped. */
export const TABLE_UPDATES_REFUSED = 1 << 30;
/** A right that the path so far denies outranks a reserved bit and a table that cannot be read (VT-d second stage). */
export const TABLE_RIGHTS_FIRST = 1 << 26;
/** Output addresses in FEE0_0000h-FEEF_FFFFh are refused (VT-d section 3.14). */
export const TABLE_REFUSES_INTERRUPT_RANGE = 1 << 25;
/** Reading an entry asks the second stage for write permission as well (VT-d with SSADE). */
export const TABLE_READS_AS_WRITES = 1 << 27;

/** Flags of unmap: free every table page that became empty, not only those the call covers whole. */
export const RECLAIM_EMPTY = 1;

// ---- Trace tokens: what a line of trace text becomes (assembly/trace/) before src/trace/ pairs them. ----
/** One token, fixed size. Offsets in bytes; page numbers count 4096-byte pages and are exact as f64. */
export const TOKEN_BYTES = 64;
/** u32: one of TOKEN_MAP … TOKEN_MALFORMED. */
export const TOKEN_KIND = 0;
/** u32: index of the event's name; the first EVENT_COUNT are the EVENT_* below. */
export const TOKEN_EVENT = 4;
/** f64: line number, from 1. */
export const TOKEN_LINE = 8;
/** f64: first page of the I/O range; ENTRIES: entries in the buffer; MALFORMED: where the line begins in the input. */
export const TOKEN_PAGE = 16;
/** f64: pages of the range, 0 when the line does not say; ENTRIES: entries written; LOST: events lost; MALFORMED: length. */
export const TOKEN_PAGES = 24;
/** f64: physical page of the range's first byte, −1 when the line does not say. */
export const TOKEN_PHYSICAL = 32;
/** f64: the trace's timestamp in nanoseconds. */
export const TOKEN_TIME = 40;
/** u32: index of the context: CPU, task and interrupt level. */
export const TOKEN_CONTEXT = 48;
/** u32: index of the task: TASK-PID, whatever the CPU and the interrupt level. */
export const TOKEN_TASK = 52;
/** u32: index of the device's name, dma events only. */
export const TOKEN_DEVICE = 56;
/** u32: LEVEL_* of the context, DETAIL_CUT where it applies, and above it the CPU; MALFORMED: the REASON_*. */
export const TOKEN_DETAIL = 60;

/** `map`. */
export const TOKEN_MAP = 1;
/** `unmap`; its range is what was really unmapped (`unmapped_size`). */
export const TOKEN_UNMAP = 2;
/** A dma event that comes after the `map` lines of its allocation: dma_map_*, dma_alloc*. */
export const TOKEN_DMA_MAP = 3;
/** A dma event that comes after its `unmap`: dma_unmap_phys, dma_unmap_page, dma_unmap_resource. */
export const TOKEN_DMA_UNMAPPED = 4;
/** A dma event that comes before its `unmap`: dma_unmap_sg (which prints no DMA address: pages is 0), dma_free*. */
export const TOKEN_DMA_UNMAPPING = 5;
/** The header line `entries-in-buffer/entries-written`. */
export const TOKEN_ENTRIES = 6;
/** A line saying that events were lost at this place. */
export const TOKEN_LOST = 7;
export const TOKEN_MALFORMED = 8;

/** Interrupt level of a context, from the flags column. */
export const LEVEL_TASK = 0;
export const LEVEL_SOFTIRQ = 1;
export const LEVEL_HARDIRQ = 2;
export const LEVEL_NMI = 3;
/** The text has no flags column. */
export const LEVEL_UNKNOWN = 4;
/** Mask of the level within TOKEN_DETAIL. */
export const DETAIL_LEVEL = 7;
/** The kernel printed only the beginning of a scatterlist. */
export const DETAIL_CUT = 8;
/** How far TOKEN_DETAIL is to be shifted right for the CPU. */
export const DETAIL_CPU_SHIFT = 4;

/** Indices of the event names the reader understands; names met later get the following indices. */
export const EVENT_MAP = 0;
export const EVENT_UNMAP = 1;
export const EVENT_DMA_MAP_PHYS = 2;
export const EVENT_DMA_MAP_PAGE = 3;
export const EVENT_DMA_MAP_RESOURCE = 4;
export const EVENT_DMA_ALLOC = 5;
export const EVENT_DMA_ALLOC_PAGES = 6;
export const EVENT_DMA_ALLOC_SGT = 7;
export const EVENT_DMA_MAP_SG = 8;
export const EVENT_DMA_UNMAP_PHYS = 9;
export const EVENT_DMA_UNMAP_PAGE = 10;
export const EVENT_DMA_UNMAP_RESOURCE = 11;
export const EVENT_DMA_FREE = 12;
export const EVENT_DMA_FREE_PAGES = 13;
export const EVENT_DMA_FREE_SGT = 14;
export const EVENT_DMA_UNMAP_SG = 15;
export const EVENT_COUNT = 16;

/** Why a line is malformed. */
export const REASON_NO_HEADER = 1;
export const REASON_HEADER_CUT = 2;
export const REASON_BAD_NUMBER = 3;
export const REASON_MISSING_FIELD = 4;
export const REASON_ZERO_SIZE = 5;
export const REASON_END_MISMATCH = 6;
export const REASON_OVERFLOW = 7;
export const REASON_NOT_PAGE_ALIGNED = 8;
export const REASON_LIST_MISMATCH = 9;
export const REASON_CUT_AT_END = 10;
export const REASON_TOO_LONG = 11;

/** Tokenizer state, read by TypeScript. Offsets in bytes from the handle. */
/** u32: address of the input buffer. */
export const TOKENIZER_INPUT = 0;
/** u32: address of the token buffer. */
export const TOKENIZER_TOKENS = 4;
/** u32: bytes of input the last call took. */
export const TOKENIZER_CONSUMED = 8;
/** u32: bytes the input buffer holds. */
export const TOKENIZER_CAPACITY = 12;
/** f64: lines seen so far. */
export const TOKENIZER_LINE = 16;
/** f64: lines that are no event: comments, tools' preambles, stack traces. Empty lines are not among them. */
export const TOKENIZER_REMARKS = 24;
/** f64: lines of events outside iommu:map, iommu:unmap and the dma events of the table above. */
export const TOKENIZER_OTHER = 32;
/** u32: how many different event names, tasks, contexts and devices were met. */
export const TOKENIZER_EVENTS = 40;
export const TOKENIZER_TASKS = 44;
export const TOKENIZER_DEVICES = 52;
/** u32: address of one f64 per event name: how many well-formed lines it had. */
export const TOKENIZER_EVENT_LINES = 56;
/** u32: not 0 when linear memory was exhausted; what follows is not valid. */
export const TOKENIZER_EXHAUSTED = 60;

/** Tables whose names TypeScript can read by index. */
export const NAMES_EVENTS = 0;
export const NAMES_TASKS = 1;
export const NAMES_DEVICES = 2;

// ---- Description of a format (assembly/format/describe.ts), offsets in bytes. Strings are UTF-16. ----
export const FORMAT_BYTES = 64;
export const FORMAT_NAME = 0;
export const FORMAT_NAME_LENGTH = 4;
export const FORMAT_TITLE = 8;
export const FORMAT_TITLE_LENGTH = 12;
export const FORMAT_MIN_LEVELS = 16;
export const FORMAT_MAX_LEVELS = 20;
export const FORMAT_GRANULE_SHIFT = 24;
export const FORMAT_INDEX_BITS = 28;
/** u64 bitmap of leaf sizes, bit n = 2^n bytes. */
export const FORMAT_LEAF_SIZES = 32;
export const FORMAT_OUTPUT_BITS = 40;
export const FORMAT_CANONICAL = 44;
export const FORMAT_RESERVES_INTERRUPT_RANGE = 48;
/** Width of the widest input address. */
export const FORMAT_INPUT_BITS = 52;
/** u32: log2 of the leaves that a contiguous run has, 4 bits a level (level 1 in bits 7:4), 0: there are no runs. */
export const FORMAT_RUN_SHIFTS = 56;

// ---- One IOVA space (assembly/iova/space.ts), offsets in bytes; ranges are counted in granules. ----
export const SPACE_BYTES = 128;
/** u64: first and one past the last granule of the space. */
export const SPACE_FIRST = 0;
export const SPACE_END = 8;
/** u64: free granules; granules of live ranges. */
export const SPACE_FREE = 16;
export const SPACE_LIVE = 24;
/** u64: lowest granule of a live range, and one past the highest. Meaningful while there is one. */
export const SPACE_LOWEST = 32;
export const SPACE_HIGHEST = 40;
/** u32. */
export const SPACE_GRANULE_SHIFT = 48;
/** u32: the first index by residue (assembly/iova/residues.ts), or 0. */
export const SPACE_RESIDUES = 52;
/** u32: tree nodes this instance had looked at, modulo 2^32, after the last allocation or free in this space. */
export const SPACE_VISITS = 56;
/** The tree of holes (assembly/iova/tree.ts): u32 root, height (1: the root is a leaf), holes. */
export const SPACE_TREE = 60;
export const SPACE_HEIGHT = 64;
export const SPACE_HOLES = 68;
/** The map of live ranges (assembly/memory/hash.ts), whose third u32 is their number. */
export const SPACE_LIVE_RANGES = 96;
export const SPACE_RANGES = 104;
/** u32: reserved ranges { u64 first, u64 end } sorted by address, their number and capacity. */
export const SPACE_RESERVED = 76;
export const SPACE_RESERVED_COUNT = 80;
export const SPACE_RESERVED_CAPACITY = 84;
/** u64: start of the range that the last call allocated, or length of the one it freed, in granules. */
export const SPACE_RESULT = 88;

// ---- An allocation request (u64 fields, bytes). ----
export const REQUEST_BYTES = 48;
export const REQUEST_LENGTH = 0;
/** Power of two; the start is congruent to REQUEST_CONGRUENT modulo this. */
export const REQUEST_ALIGNMENT = 8;
export const REQUEST_CONGRUENT = 16;
/** First and last byte that the range may use. */
export const REQUEST_FIRST = 24;
export const REQUEST_LAST = 32;
/** u32: 0 from the top down, 1 from the bottom up. */
export const REQUEST_DIRECTION = 40;
export const DIRECTION_TOP_DOWN = 0;
export const DIRECTION_BOTTOM_UP = 1;

// ---- A batch of IOVA requests: header like CHANGE_BATCH_*; the request is common but for the length. ----
export const IOVA_BATCH_COUNT = 0;
/** Linear address of the common request. */
export const IOVA_BATCH_REQUEST = 4;
/** Linear address of u64[]: IOVA out (allocate) or in (free). */
export const IOVA_BATCH_IOVA = 8;
/** Linear address of u64[]: lengths in (allocate) or out (free), bytes. */
export const IOVA_BATCH_LENGTH = 12;
/** Linear address of u32[]: status out. */
export const IOVA_BATCH_STATUS = 16;
/** Linear address of u64[]: REQUEST_CONGRUENT per request, or 0. */
export const IOVA_BATCH_CONGRUENT = 20;

// ---- One of Linux's IOVA domains (assembly/iova/linux/). ----
/** u32: address of the state; it moves when the state grows. */
export const LINUX_STATE = 0;
/** When unmapped ranges may be used again: at once; when a ring a CPU was flushed; when one ring for all was flushed. */
export const LINUX_FLUSH_STRICT = 0;
export const LINUX_FLUSH_LAZY = 1;
export const LINUX_FLUSH_LAZY_SINGLE = 2;

/** A device, within the state: u64 last page that it can reach; u32 `pci_32bit_workaround`. */
export const LINUX_DEVICE_BYTES = 16;
export const LINUX_DEVICE_LIMIT = 0;
export const LINUX_DEVICE_BELOW_4G_FIRST = 8;

/** Where the state has its counters, u64 each. */
export const LINUX_COUNTERS = 248;
export const LINUX_COUNTERS_BYTES = 80;
/** Searches of the tree, those of them that began again from the limit, and ranges that they looked at. */
export const LINUX_COUNT_SEARCHES = 0;
export const LINUX_COUNT_RETRIES = 8;
export const LINUX_COUNT_VISITS = 16;
/** Searches below 4 GiB given up at once, because one of that size or less had failed (`max32_alloc_size`). */
export const LINUX_COUNT_REFUSALS = 24;
export const LINUX_COUNT_MAGAZINE_HITS = 32;
/** Magazines that went into a depot, that a CPU took out again, that the delayed work dropped. */
export const LINUX_COUNT_DEPOT_PUSHES = 40;
export const LINUX_COUNT_DEPOT_POPS = 48;
export const LINUX_COUNT_DEPOT_TRIMS = 56;
/** Flushes of all magazines and depots after a failed search. */
export const LINUX_COUNT_CACHE_FLUSHES = 64;
export const LINUX_COUNT_IOTLB_FLUSHES = 72;

// ---- Replay of an operation stream under one policy (assembly/replay/replay.ts). ----
/** Where IOVAs come from: the trace itself; an allocator; the physical address; Linux's allocator. */
export const POLICY_RECORDED = 0;
export const POLICY_ALLOCATE = 1;
export const POLICY_IDENTITY = 2;
export const POLICY_LINUX = 3;
/** Alignment: the granule; the length rounded up to a power of two; that, but no more than the first physical address has. */
export const ALIGN_GRANULE = 0;
export const ALIGN_SIZE = 1;
export const ALIGN_SIZE_AND_ADDRESS = 2;

/** How a replay is set up (bytes; u32 unless said otherwise). */
export const REPLAY_SETUP_BYTES = 96;
export const REPLAY_FORMAT = 0;
export const REPLAY_LEVELS = 4;
export const REPLAY_OUTPUT_BITS = 8;
export const REPLAY_TABLE_FLAGS = 12;
/** u64. */
export const REPLAY_PAGE_SIZES = 16;
export const REPLAY_POLICY = 24;
export const REPLAY_ALIGN = 28;
/** Largest alignment that ALIGN_* may ask for, log2. */
export const REPLAY_ALIGN_CAP = 32;
/** 1: the start is congruent to the physical address modulo the largest leaf that pays. */
export const REPLAY_CONGRUENT = 36;
export const REPLAY_DIRECTION = 40;
/** Flags of every unmap. */
export const REPLAY_UNMAP_FLAGS = 44;
/** u64: first and last address of every IOVA space. */
export const REPLAY_FIRST = 48;
export const REPLAY_LAST = 56;
/** u64: one reserved range, first and last; empty when first > last. */
export const REPLAY_RESERVED_FIRST = 64;
export const REPLAY_RESERVED_LAST = 72;
/** For POLICY_LINUX, as `linuxIovaCreate` takes them: least and most alignment (log2 of pages), LINUX_FLUSH_*. */
export const REPLAY_LEAST_ALIGNMENT = 80;
export const REPLAY_MOST_ALIGNMENT = 84;
export const REPLAY_FLUSH = 88;

/** Where a strategy that looks at each mapping by itself wants it: a record an operation (bytes). */
export const PLACEMENT_BYTES = 48;
/** u64: the IOVA is congruent to PLACEMENT_ADDRESS modulo this power of two. */
export const PLACEMENT_MODULUS = 0;
export const PLACEMENT_ADDRESS = 8;
/** u64: the smallest power of two that the modulus may be halved to where there is no room. */
export const PLACEMENT_LEAST = 16;
/** u64: bytes of the chunk of IOVAs that the mapping shares with others, 0 where it has a range of its own. */
export const PLACEMENT_CHUNK_LENGTH = 24;
/** u64: where in its chunk the mapping begins; the chunk is allocated at 0. */
export const PLACEMENT_CHUNK_OFFSET = 32;
/** u32: index of the chunk; of an unmap, whether the chunk goes back with it. */
export const PLACEMENT_CHUNK = 40;
export const PLACEMENT_CHUNK_ENDS = 44;

/** Results (bytes; u64 unless said otherwise). Arrays of 6 by level. */
export const REPLAY_RESULT_BYTES = 384;
export const RESULT_OPERATIONS = 0;
export const RESULT_MAPPINGS = 8;
export const RESULT_FAILED = 16;
export const RESULT_FAILED_BYTES = 24;
/** Unmaps that would have split a leaf; the leaf stayed until all of its mapping went. */
export const RESULT_SPLIT = 32;
export const RESULT_LEAVES = 40;
export const RESULT_LEAVES_PEAK = 88;
/** Sum of the leaves present after every operation. */
export const RESULT_LEAVES_SUM = 136;
export const RESULT_PAGES_PEAK = 184;
export const RESULT_ENTRIES_WRITTEN = 192;
/** Over all mappings: leaves used; fewest that any layout permits; fewest that this physical layout permits. */
export const RESULT_USED = 200;
export const RESULT_FEWEST = 208;
export const RESULT_ATTAINABLE = 216;
/** Widest span of one IOVA space, bytes. */
export const RESULT_SPAN_PEAK = 224;
export const RESULT_LIVE_PEAK = 232;
export const RESULT_LIVE = 240;
/** f64: sum and peak of the fragmentation samples; u64: their number. */
export const RESULT_FRAGMENTATION_SUM = 248;
export const RESULT_FRAGMENTATION_PEAK = 256;
export const RESULT_FRAGMENTATION_SAMPLES = 264;
/** Leaves at all levels together: at their peak, and now. */
export const RESULT_TOTAL_PEAK = 272;
export const RESULT_TOTAL = 280;
/** Up to which operation RESULT_LEAVES_SUM has been brought; the results are complete after `replaySummarize`. */
export const RESULT_LEAVES_SINCE = 288;
/** Mappings that were placed with less than their PLACEMENT_MODULUS. */
export const RESULT_UNMET = 336;
