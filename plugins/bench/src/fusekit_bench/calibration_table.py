"""What each metric is calibrated against, as data: one table for the command, the docs page and the tests."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Formulas without a choice of border or precision: six digits and more.
CLOSED = "closed form"
#: Filters whose borders, guards or precision differ in the published code: three digits and more.
FILTER = "filter"
#: The published code deviates from its definition, or is no reference; the remark says how, the tolerance by how much.
STATED = "stated"
#: The largest tolerance of a grade.
LIMITS = {CLOSED: 1e-6, FILTER: 1e-3, STATED: math.inf}


@dataclass(frozen=True)
class Reference:
    """A published implementation of a metric.

    Attributes:
        metric: our id.
        quantity: its key in the golden values.
        implementation: the key of the implementation there.
        grade: `CLOSED`, `FILTER` or `STATED`.
        tolerance: the relative deviation that no triple may reach.
        least: the number of triples that must have a value.
        factor: of the published value, to our unit.
        without: beginnings of the names of triples that are left out, for the reason in the remark.
        textured: whether only triples without any flat window count.
        remark: why the tolerance is not tighter, or what differs.
    """

    metric: str
    quantity: str
    implementation: str
    grade: str
    tolerance: float
    least: int
    factor: float = 1.0
    without: tuple[str, ...] = ()
    textured: bool = False
    remark: str = ""

    def serves(self, triple: str) -> bool:
        """Return whether the reference counts for the triple of this name."""
        return not triple.startswith(self.without) if self.without else True


_TANG, _VIFB, _LIU, _HAGHIGHAT = "octave:Tang", "octave:VIFB", "octave:Liu", "octave:Haghighat"
_KUMAR = "octave:Petrovic/ShreyamshaKumar(F,A,B)"
_CDDFUSE = "python:CDDFuse.Evaluator"
_PORT = "python:own numba port of analysis_fmi"
_EDGE_PORT = "python:own numba port on Octave image-package edge(x/255) Sobel maps"
_SKLEARN = "python:sklearn.normalized_mutual_info_score(arithmetic) mean"
_SKIMAGE = "python:skimage.normalized_mutual_information(bins=256) mean"
_SKIMAGE_SSIM = "python:skimage.structural_similarity(gaussian 1.5, population cov) mean"
_EHDRAN_FSIM = "python:EH-DRAN.fsim(float 0-1, as inference_*.py calls it)"
_BITS = 1 / math.log(2)

_SINGLE = "The reference computes in single precision."
_UNTRACED = "Not traced; single precision or a guard against division by zero would do it."
_FLAT_PET = (
    "Where windows are flat in all sources but not black, the published weights are quotients of rounding errors; "
    "triples without such areas have a row of their own."
)
_DARK_PET = (
    "Far within black areas the contrast is a quotient of rounding errors; triples without such areas have a row of "
    "their own."
)
_OVERWRITTEN = (
    "The published code overwrites the fused window with its normalised form before it meets the second source, so "
    "that equal windows count as different; ours treats the sources alike."
)
_WIDE_BLACK = ("med_pet", "med_spect")
_TEXTURED = "The published code divides 0 by 0 in flat windows; only triples without any count."


def _metricslab(name: str) -> str:
    return f"python:MetricsLab.{name}_metric"


INFORMATION = (
    Reference("en", "EN", _VIFB, CLOSED, 1e-9, 12),
    Reference("en", "EN", _TANG, CLOSED, 1e-9, 25),
    Reference("en", "EN", _CDDFUSE, CLOSED, 1e-9, 25),
    Reference("en", "EN", _metricslab("en"), CLOSED, 1e-6, 25, remark="It adds an epsilon in the logarithm."),
    Reference("en.float", "EN", "python:EH-DRAN.en", CLOSED, 1e-9, 25),
    Reference("ce", "CE", _VIFB, CLOSED, 1e-9, 12),
    Reference("ce", "CE", _metricslab("ce"), CLOSED, 1e-9, 8),
    Reference("mi", "MI", _VIFB, CLOSED, 1e-9, 12, factor=_BITS, remark="Published in nats."),
    Reference("mi", "MI", _CDDFUSE, CLOSED, 1e-9, 25, factor=_BITS, remark="Published in nats."),
    Reference(
        "mi", "MI", _TANG, STATED, 0.3, 25,
        remark="Its joint histogram adds 1 to 8-bit numbers, so that the levels 254 and 255 are one.",
    ),
    Reference("mi.nats", "MI", _VIFB, CLOSED, 1e-9, 12),
    Reference("mi.nats", "MI", _CDDFUSE, CLOSED, 1e-9, 25),
    Reference("mi.nats", "MI", _metricslab("mi"), CLOSED, 1e-9, 8),
    Reference(
        "mi.mean", "MI", "python:EH-DRAN.eval(256 bins)", CLOSED, 1e-9, 25, factor=_BITS, remark="Published in nats."
    ),
    Reference("nmi", "QMI", _LIU, CLOSED, 1e-9, 25),
    Reference("nmi", "NMI", _metricslab("nmi"), CLOSED, 1e-9, 8),
    Reference("nmi.mean", "NMI", _SKLEARN, CLOSED, 1e-9, 25),
    Reference("nmi.joint", "NMI", _SKIMAGE, CLOSED, 1e-9, 25),
    Reference("nmi.joint", "NMI", "python:EH-DRAN.nmi", STATED, 0.05, 25, remark="Computed over 100 bins, not 256."),
    Reference("qncie", "QNCIE", _LIU, CLOSED, 1e-9, 25),
    Reference("qncie", "QNCIE", _metricslab("q_ncie"), CLOSED, 1e-9, 8),
    Reference("qte.liu", "QTE", "octave:Liu_sw2(q=1.85)", CLOSED, 1e-9, 12),
    Reference("qte.nava", "QTE", "octave:Liu_sw3(q=0.43137)", CLOSED, 1e-9, 12),
    Reference("fmi.pixel", "FMI_pixel", _HAGHIGHAT, CLOSED, 1e-9, 3),
    Reference("fmi.pixel", "FMI_pixel", _PORT, STATED, 3e-2, 26, remark=_OVERWRITTEN),
    Reference("fmi.gradient", "FMI_gradient", _HAGHIGHAT, CLOSED, 1e-9, 3),
    Reference("fmi.gradient", "FMI_gradient", _PORT, STATED, 3e-2, 26, remark=_OVERWRITTEN),
    Reference("fmi.dct", "FMI_dct", _HAGHIGHAT, CLOSED, 1e-9, 3),
    Reference("fmi.dct", "FMI_dct", _PORT, CLOSED, 1e-9, 26),
    Reference("fmi.wavelet", "FMI_wavelet", _HAGHIGHAT, CLOSED, 1e-6, 2),
    Reference("fmi.wavelet", "FMI_wavelet", _PORT, FILTER, 2e-4, 26, remark=_OVERWRITTEN),
    Reference(
        "fmi.edge", "FMI_edge", _EDGE_PORT, STATED, 5e-3, 25,
        remark="No reference: a port on Octave's edge maps, whose detector meets ties of rounding on levels / 255.",
    ),
)  # fmt: skip

SIMILARITY = (
    Reference("mse", "MSE", _TANG, CLOSED, 1e-9, 25),
    Reference("mse", "MSE", _metricslab("mse"), CLOSED, 1e-9, 25),
    Reference("mse.255", "MSE", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference(
        "rmse", "RMSE", _metricslab("rmse"), CLOSED, 1e-6, 23, without=("deg_",),
        remark="It adds 1e-10 under the root, which shows where an image equals the fused one: these are left out.",
    ),
    Reference("psnr", "PSNR", "python:skimage.peak_signal_noise_ratio mean of two", CLOSED, 1e-9, 25),
    Reference("psnr", "PSNR", "python:EH-DRAN.psnr(data_range=1)", CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference("psnr.vifb", "PSNR", _VIFB, CLOSED, 1e-9, 25),
    Reference("psnr.cddfuse", "PSNR", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference("ssim", "SSIM", _SKIMAGE_SSIM, CLOSED, 1e-9, 25),
    Reference("ssim", "SSIM", "python:piq.ssim(downsample=False) mean", CLOSED, 1e-9, 25),
    Reference("ssim", "SSIM", _VIFB, CLOSED, 1e-9, 25, factor=0.5, remark="Published as the sum of two."),
    Reference("ssim.sum", "SSIM", _VIFB, CLOSED, 1e-9, 25),
    Reference("ssim.padded", "SSIM", "python:torchmetrics.ssim(data_range=1) mean", CLOSED, 1e-9, 25),
    Reference("ssim.padded", "SSIM", "python:EH-DRAN.ssim", FILTER, 1e-4, 25, remark=_UNTRACED),
    Reference(
        "ms-ssim", "MS_SSIM", "octave:MATR.MS_SSIM(5 scales,mean)", CLOSED, 1e-9, 18,
        without=("vifb_snow", "small_", "deg_"),
        remark="It refuses small images, and takes a complex power where a scale's mean is negative, as in the snow.",
    ),
    Reference(
        "ms-ssim", "MS_SSIM", "python:piq.multi_scale_ssim mean", CLOSED, 1e-9, 18, without=("vifb_manWalking",),
        remark="It puts zeros beside an odd last row or column: the triples of odd size are left out.",
    ),
    Reference("ms-ssim", "MS_SSIM", "python:piq.multi_scale_ssim mean", STATED, 5e-2, 21, remark="Odd sizes included."),
    Reference("mef-ssim", "MS_SSIM", "octave:Tang(MEF-SSIM 3 scales)", CLOSED, 1e-9, 7),
    Reference("cc", "CC", _TANG, CLOSED, 1e-9, 25),
    Reference("cc", "CC", "python:numpy.corrcoef mean", CLOSED, 1e-9, 25),
    Reference("cc", "CC", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference("scd", "SCD", _TANG, CLOSED, 1e-9, 23),
    Reference("scd", "SCD", _metricslab("scd"), CLOSED, 1e-9, 25),
    Reference("scd", "SCD", _CDDFUSE, CLOSED, 1e-6, 23, remark=_SINGLE),
    Reference("vif", "VIF", _TANG, CLOSED, 1e-9, 25),
    Reference("vif", "VIF", _CDDFUSE, CLOSED, 1e-9, 25, remark="It calls this VIFF."),
    Reference(
        "vif", "VIF", "python:piq.vif_p sum", FILTER, 1e-4, 25, remark="Its guards against division by zero are larger."
    ),
    Reference("vif.mean", "VIF", "python:sewar.vifp sum", CLOSED, 1e-9, 25, factor=0.5, remark="Published as the sum."),
    Reference("viff", "VIF", _metricslab("viff"), FILTER, 1e-3, 25, remark=_SINGLE),
    Reference(
        "fsim", "FSIM", "python:piq.fsim(chromatic=False) mean", FILTER, 2e-5, 25,
        remark="It exchanges rows and columns, which the filters at the Nyquist frequency tell apart.",
    ),
    Reference("fsim.ehdran", "FSIM", _EHDRAN_FSIM, CLOSED, 1e-6, 25),
    Reference("gmsd", "GMSD", "python:piq.gmsd mean", CLOSED, 1e-9, 25),
)  # fmt: skip

GRADIENT = (
    Reference("ag", "AG", _VIFB, CLOSED, 1e-9, 25),
    Reference("ag", "AG", _TANG, CLOSED, 1e-9, 25),
    Reference("ag.mn", "AG", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference("ei", "EI", _VIFB, CLOSED, 1e-9, 25),
    Reference("ei", "EI", _metricslab("ei"), FILTER, 1e-4, 25, remark=_UNTRACED),
    Reference("sd", "SD", _VIFB, CLOSED, 1e-9, 25),
    Reference("sd", "SD", _TANG, CLOSED, 1e-9, 25),
    Reference("sd", "SD", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference("sf", "SF", _VIFB, CLOSED, 1e-9, 12),
    Reference("sf.diff", "SF", _TANG, CLOSED, 1e-9, 25),
    Reference("sf.diff", "SF", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference("qsf", "QSF", _LIU, CLOSED, 1e-9, 12),
    Reference("qsf.metricslab", "QSF", _metricslab("q_sf"), CLOSED, 1e-7, 25),
    Reference("qabf", "QABF", _VIFB, CLOSED, 1e-9, 4),
    Reference("qabf", "QABF", _TANG, CLOSED, 1e-9, 12),
    Reference("qabf", "QABF", _CDDFUSE, CLOSED, 1e-6, 25, remark=_SINGLE),
    Reference(
        "qabf", "QABF", _metricslab("q_abf"), FILTER, 6e-4, 25,
        remark="It takes the ratio of equal edge strengths as 1, where the others take the strength.",
    ),
    Reference("qabf.kumar", "QABF", _KUMAR, CLOSED, 1e-9, 4),
    Reference("labf", "LABF", _KUMAR, CLOSED, 1e-9, 4),
    Reference("nabf", "NABF", _KUMAR, CLOSED, 1e-8, 4),
    Reference("nabf", "NABF", "octave:Tang_signature(F,A,B)", CLOSED, 1e-8, 7),
    Reference("nabf", "NABF", _metricslab("n_abf"), CLOSED, 1e-6, 25, remark="Some values are as small as 2e-8."),
    Reference("nabf.petrovic", "NABF1", _KUMAR, CLOSED, 1e-9, 4),
    Reference("qg", "QG", _LIU, CLOSED, 1e-7, 25),
    Reference("qp", "QP", _LIU, FILTER, 2e-6, 25, remark="Ours finds phase congruency in single precision."),
)  # fmt: skip

STRUCTURE = (
    Reference("qs", "QS", _LIU, FILTER, 6e-4, 25, remark=_FLAT_PET),
    Reference("qs", "QS", _LIU, CLOSED, 1e-6, 20, without=_WIDE_BLACK),
    Reference("qs", "QS", _metricslab("q_s"), FILTER, 6e-4, 25, remark=_FLAT_PET),
    Reference("qw", "QW", _LIU, CLOSED, 1e-6, 25),
    Reference("qw", "QW", _metricslab("q_w"), CLOSED, 1e-6, 25),
    Reference(
        "qe", "QE", "octave:Liu_patched(Q taken from sw=2)", CLOSED, 1e-6, 25,
        remark="As published it stops with an error; the missing quality is taken from its own qw.",
    ),
    Reference("qe.metricslab", "QE", _metricslab("q_e"), CLOSED, 1e-6, 25),
    Reference("qcb", "QCB", _VIFB, FILTER, 1e-3, 25, remark=_DARK_PET),
    Reference("qcb", "QCB", _VIFB, CLOSED, 1e-6, 20, without=_WIDE_BLACK),
    Reference("qcb", "QCB", _LIU, FILTER, 1e-3, 25, remark=_DARK_PET),
    Reference("qcb", "QCB", _LIU, CLOSED, 1e-6, 20, without=_WIDE_BLACK),
    Reference("qcv", "QCV", _VIFB, CLOSED, 1e-9, 25),
    Reference("qcv", "QCV", _LIU, CLOSED, 1e-9, 25),
    Reference("qy", "QY", _LIU, CLOSED, 1e-9, 4, textured=True, remark=_TEXTURED),
    Reference("qy", "QY", _metricslab("q_y"), CLOSED, 1e-9, 4, textured=True, remark=_TEXTURED),
    Reference("qc.liu", "QC", "octave:Liu_sw2", CLOSED, 1e-9, 4, textured=True, remark=_TEXTURED),
    Reference("qc.liu", "QC", _metricslab("q_c"), CLOSED, 1e-9, 4, textured=True, remark=_TEXTURED),
    Reference("qm", "QM", _LIU, CLOSED, 1e-9, 25),
    Reference("qm", "QM", _metricslab("pww"), CLOSED, 1e-6, 25),
)  # fmt: skip

REFERENCES = (*INFORMATION, *SIMILARITY, *GRADIENT, *STRUCTURE)

#: Metrics that no published implementation calibrates, and why.
NOT_CALIBRATED = {
    "qte": (
        "the published toolbox exchanges the two marginal histograms, and its successor copies that (qte.liu has it); "
        "with the marginals put right the toolbox gives our value on the one triple where this was run"
    ),
    "uqi": (
        "sewar takes window means where the paper has sums, and torchmetrics has Gaussian windows; tested against the "
        "paper's formula, and against sewar's with its means put in"
    ),
    "qc": (
        "published code replaces the quality of windows with opposite covariances by 0 or 1, where the paper limits "
        "the weight (qc.liu has the code's); where there are no such windows both are equal"
    ),
    "lpips.vgg16": "a distance of our own form, without LPIPS's learned weights; nobody publishes values of it",
    "lpips.vgg19-pruned": "as lpips.vgg16, of a smaller network",
}
