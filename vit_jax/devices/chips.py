"""The accelerators this package knows: one row per TPU generation, and GPUs.

Everything that differs between TPU generations is read from here: compiler
options (devices/compilation.py), peaks and MFU (models/cost.py), the slices to
compile for (aot/topologies.py) and what to ask Google Cloud for (launch/). To
add a generation, add a row to TPUS.

Imports the standard library only: launch/ runs on laptops without JAX.
"""

import dataclasses

# Chips of a slice -> its shape in chips, for tori of two and three dimensions.
_SHAPES = {
    2: {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8",
        128: "8x16", 256: "16x16", 512: "16x32", 1024: "32x32"},
    3: {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4",
        64: "4x4x4", 128: "4x4x8", 256: "4x8x8", 512: "8x8x8",
        1024: "8x8x16", 2048: "8x16x16", 3072: "12x16x16", 4096: "16x16x16",
        6144: "16x16x24"},
}
# Slices of more than one host have at least so many chips.
_SMALLEST_OF_SEVERAL_HOSTS = {2: 16, 3: 8}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TPU:
  """One TPU generation; rates are those of a whole chip.

  Attributes:
    name: the common name ("v5e"), which also begins the names of slices.
    device_kinds: what JAX calls its devices.
    libtpu: what libtpu calls it.
    accelerator: what Google Cloud's accelerator types begin with.
    aliases: other names in use.
    cores: TensorCores per chip. N of an accelerator type counts TensorCores,
      which for chips with a single one is the number of chips.
    devices: JAX devices per chip; 2 where a device is one TensorCore.
    hbm_gib_per_device: memory that the compiler gives to the programs of one
      JAX device, as libtpu 0.0.42 states it for a program that is too large.
    teraflops: dense peak with 16-bit inputs, in TFLOP/s.
    hbm_gb_per_s: memory bandwidth.
    ici_gb_per_s: all links to other chips together, in one direction.
    dcn_gb_per_s: a chip's share of its host's network, between slices.
    clock_mhz: of a TensorCore: the peak over the FLOPs of its matrix units per
      cycle.
    bfloat16_vectors: the vector units compute in bfloat16, not float32 alone.
    bfloat16_kernels: Pallas compiles matrix products of bfloat16 for it.
    vmem_limit_kib: fast memory that the preset "vmem" grants to a single
      operation; None leaves the compiler's default.
    topology_options: what libtpu needs to describe the chips as JAX sees them.
    dimensions: of the torus in which the chips are wired.
    pod_chips: chips of the largest slice.
    offered_chips: sizes of the slices that Google Cloud offers, in chips.
    single_host_chips: sizes of the slices that are one host (one VM); larger
      ones have 4 chips per host.
    host_gb: memory of a VM with 4 chips, in GB, as Google Cloud's pages state
      it; one with more or fewer chips has as much more or less.
    runtime: software version of the Cloud TPU API; "" where it is not served.
    machine: Compute Engine machine type with {chips} per VM; "" where there is
      none.
    image: Compute Engine image family.
    gke: value of the node label cloud.google.com/gke-tpu-accelerator; "" where
      GKE has none.
    disk: boot disk type on Compute Engine; "" for its default.
    nic: network card on Compute Engine; "" for its default.
  """

  name: str
  device_kinds: tuple[str, ...]
  libtpu: str
  accelerator: str
  aliases: tuple[str, ...] = ()
  cores: int
  devices: int
  hbm_gib_per_device: float
  teraflops: float
  hbm_gb_per_s: float
  ici_gb_per_s: float
  dcn_gb_per_s: float
  clock_mhz: float
  bfloat16_vectors: bool = False
  bfloat16_kernels: bool = True
  vmem_limit_kib: int | None = None
  topology_options: tuple[tuple[str, str], ...] = ()
  dimensions: int
  pod_chips: int
  offered_chips: tuple[int, ...]
  single_host_chips: tuple[int, ...]
  host_gb: int
  runtime: str = ""
  machine: str = ""
  image: str = ""
  gke: str = ""
  disk: str = ""
  nic: str = ""

  @property
  def flops_per_device(self) -> float:
    """Dense peak of one JAX device with 16-bit inputs, in FLOP/s."""
    return self.teraflops * 1e12 / self.devices

  @property
  def shapes(self) -> dict[int, str]:
    """Chips of a slice -> shape ("4x4"), for the usual slices of a pod."""
    return {chips: shape for chips, shape in _SHAPES[self.dimensions].items()
            if chips in self.single_host_chips or
            _SMALLEST_OF_SEVERAL_HOSTS[self.dimensions] <= chips
            <= self.pod_chips}


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPU:
  """One GPU; it is recognised by two words in what JAX calls the device.

  Attributes:
    family: the first word ("H100").
    form: the second word ("PCIe"); "" for all remaining forms.
    teraflops: dense peak of the tensor cores with 16-bit inputs, in TFLOP/s.
  """

  family: str
  form: str = ""
  teraflops: float


_IMAGE = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"
_MEGACORE = (("chip_config_name", "megacore"),)

# Sources: cloud.google.com/tpu/docs/system-architecture-tpu-vm and the pages on
# each generation (peaks, bandwidths, shapes); /tpu/docs/runtimes (runtime
# versions); /compute/docs/tpus/tpu-machines (machine types); for ICI of v2 and
# v3 Jouppi et al., "A domain-specific supercomputer for training deep neural
# networks" (2020), table 1. The page on 7x gives ICI in both directions
# together; here it is one. DCN is the bandwidth of a host's network divided by
# its chips, and an assumption where the pages are silent: 100 Gbit/s per host
# of v2 to v4, 200 or more of later ones.
TPUS: tuple[TPU, ...] = (
    TPU(
        name="v2", device_kinds=("TPU v2",), libtpu="v2", accelerator="v2",
        cores=2, devices=2, hbm_gib_per_device=7.48, teraflops=45,
        hbm_gb_per_s=700, ici_gb_per_s=248, dcn_gb_per_s=3.1, clock_mhz=700,
        bfloat16_kernels=False, dimensions=2, pod_chips=256,
        offered_chips=(4, 16, 64, 128, 256),
        single_host_chips=(4,), host_gb=334, runtime="tpu-ubuntu2204-base"),
    TPU(
        name="v3", device_kinds=("TPU v3",), libtpu="v3", accelerator="v3",
        cores=2, devices=2, hbm_gib_per_device=15.48, teraflops=123,
        hbm_gb_per_s=900, ici_gb_per_s=328, dcn_gb_per_s=3.1, clock_mhz=940,
        bfloat16_kernels=False, dimensions=2, pod_chips=1024,
        offered_chips=(4, 16, 32, 64, 128, 256, 512, 1024),
        single_host_chips=(4,), host_gb=334, runtime="tpu-ubuntu2204-base"),
    TPU(
        name="v4", device_kinds=("TPU v4",), libtpu="v4", accelerator="v4",
        cores=2, devices=1, hbm_gib_per_device=30.75, teraflops=275,
        hbm_gb_per_s=1200, ici_gb_per_s=300, dcn_gb_per_s=3.1, clock_mhz=1050,
        topology_options=_MEGACORE, dimensions=3, pod_chips=4096,
        offered_chips=(4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048),
        single_host_chips=(4,), host_gb=400, runtime="tpu-ubuntu2204-base",
        gke="tpu-v4-podslice"),
    TPU(
        name="v5e", device_kinds=("TPU v5 lite", "TPU v5e"), libtpu="v5e",
        accelerator="v5litepod", aliases=("v5lite",), cores=1, devices=1,
        hbm_gib_per_device=15.75, teraflops=197, hbm_gb_per_s=819,
        ici_gb_per_s=200, dcn_gb_per_s=3.1, clock_mhz=1500,
        vmem_limit_kib=65536, dimensions=2, pod_chips=256,
        offered_chips=(1, 4, 8, 16, 32, 64, 128, 256),
        single_host_chips=(1, 4, 8), host_gb=192, runtime="v2-alpha-tpuv5-lite",
        gke="tpu-v5-lite-podslice"),
    TPU(
        name="v5p", device_kinds=("TPU v5", "TPU v5p"), libtpu="v5p",
        accelerator="v5p", aliases=("v5",), cores=2, devices=1,
        hbm_gib_per_device=95.74, teraflops=459, hbm_gb_per_s=2765,
        ici_gb_per_s=600, dcn_gb_per_s=6.2, clock_mhz=1750,
        vmem_limit_kib=65536, topology_options=_MEGACORE, dimensions=3,
        pod_chips=8960,
        offered_chips=(4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3072,
                       4096, 6144),
        single_host_chips=(4,), host_gb=448, runtime="v2-alpha-tpuv5",
        machine="ct5p-hightpu-{chips}t", image=_IMAGE, gke="tpu-v5p-slice"),
    TPU(
        name="v6e", device_kinds=("TPU v6 lite", "TPU v6e"), libtpu="v6e",
        accelerator="v6e", aliases=("trillium",), cores=1, devices=1,
        hbm_gib_per_device=31.25, teraflops=918, hbm_gb_per_s=1640,
        ici_gb_per_s=448, dcn_gb_per_s=12.5, clock_mhz=1750,
        bfloat16_vectors=True, vmem_limit_kib=98304, dimensions=2,
        pod_chips=256,
        offered_chips=(1, 4, 8, 16, 32, 64, 128, 256),
        single_host_chips=(1, 4, 8), host_gb=720, runtime="v2-alpha-tpuv6e",
        machine="ct6e-standard-{chips}t", image=_IMAGE, gke="tpu-v6e-slice"),
    TPU(
        name="7x", device_kinds=("TPU7x", "TPU v7x"), libtpu="tpu7x",
        accelerator="tpu7x", aliases=("v7x", "ironwood"), cores=2, devices=2,
        hbm_gib_per_device=94.75, teraflops=2307, hbm_gb_per_s=7380,
        ici_gb_per_s=600, dcn_gb_per_s=12.5, clock_mhz=2200,
        bfloat16_vectors=True, vmem_limit_kib=32768, dimensions=3,
        pod_chips=9216,
        offered_chips=(1, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
        single_host_chips=(1, 4), host_gb=960,
        machine="tpu7x-standard-{chips}t",
        image="ubuntu-accel-2404-amd64-tpu-tpu7x", gke="tpu7x",
        disk="hyperdisk-balanced", nic="GVNIC"),
)

# NVIDIA's data sheets; the first row that matches counts.
GPUS: tuple[GPU, ...] = (
    GPU(family="H100", form="PCIe", teraflops=756),
    GPU(family="H100", form="NVL", teraflops=835),
    GPU(family="H100", teraflops=989),
    GPU(family="H200", form="NVL", teraflops=835),
    GPU(family="H200", teraflops=989),
    GPU(family="A100", teraflops=312),
    GPU(family="V100", form="PCIE", teraflops=112),
    GPU(family="V100", teraflops=125),
)


def tpu_by_name(name: str) -> TPU | None:
  """Returns the generation of a name, in any spelling; None if unknown."""
  return next((tpu for tpu in TPUS if name in (
      tpu.name, tpu.libtpu, tpu.accelerator, *tpu.aliases)), None)


def tpu_by_device_kind(kind: str) -> TPU | None:
  """Returns the generation of a JAX device; None for anything but TPUs.

  Args:
    kind: as in `jax.devices()[0].device_kind`.
  """
  return next((tpu for tpu in TPUS if kind in tpu.device_kinds), None)


def peak_flops(device_kind: str) -> float | None:
  """Returns the peak of a JAX device with 16-bit inputs, in FLOP/s.

  Args:
    device_kind: as in `jax.devices()[0].device_kind`.

  Returns:
    The dense peak; None for a CPU and for chips that are not in the tables.
  """
  tpu = tpu_by_device_kind(device_kind)
  if tpu is not None:
    return tpu.flops_per_device
  gpu = next((gpu for gpu in GPUS
              if gpu.family in device_kind and gpu.form in device_kind), None)
  return None if gpu is None else gpu.teraflops * 1e12
