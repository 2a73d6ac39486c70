"""What each built-in metric is, apart from its code: name, class, direction, summary, paper. It stands here only.

`fusekit.builtin` registers the metrics from here, and `fusekit.metrics.build.build_metric` gives each one built its
name, direction and paper. Nothing heavy is imported, so that listing stays light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Facts:
    """One built-in metric.

    Attributes:
        id: the name that it is registered under.
        target: its class, as ``"module:Class"`` within `fusekit.metrics`.
        direction: which values are better, ``"higher"`` or ``"lower"`` ones.
        summary: one line for listings.
        citation: the paper that defines it, and the form of it that is meant where there are several.
        optional: whether it needs weights of its own, so that no set of metrics has it.
    """

    id: str
    target: str
    direction: Direction
    summary: str
    citation: str
    optional: bool = False


_ASLANTAS_2015 = (
    "Aslantas, Bendes: A new image quality metric for image fusion: the sum of the correlations of differences. "
    "AEU International Journal of Electronics and Communications 69(12), 2015"
)
_BULANON_2009 = (
    "Bulanon, Burks, Alchanatis: Image fusion of visible and thermal images for fruit detection. Biosystems "
    "Engineering 103(1), 2009"
)
_CHEN_2007 = (
    "Chen, Varshney: A human perception inspired quality metric for image fusion based on regional information. "
    "Information Fusion 8(2), 2007"
)
_CHEN_2009 = (
    "Chen, Blum: A new automated quality assessment algorithm for image fusion. Image and Vision Computing 27(10), 2009"
)
_CUI_2015 = (
    "Cui, Feng, Xu, Li, Chen: Detail preserved fusion of visible and infrared images using regional saliency "
    "extraction and multi-scale image decomposition. Optics Communications 341, 2015"
)
_CVEJIC_2005 = (
    "Cvejic, Łoza, Bull, Canagarajah: A similarity metric for assessment of image fusion algorithms. International "
    "Journal of Signal Processing 2(3), 2005"
)
_CVEJIC_2006 = (
    "Cvejic, Canagarajah, Bull: Image fusion metric based on mutual information and Tsallis entropy. Electronics "
    "Letters 42(11), 2006"
)
_DESHMUKH_2010 = (
    "Deshmukh, Bhosale: Image fusion and image quality assessment of fused images. International Journal of Image "
    "Processing 4(5), 2010"
)
_ESKICIOGLU_1995 = (
    "Eskicioglu, Fisher: Image quality measures and their performance. IEEE Transactions on Communications 43(12), 1995"
)
_HAGHIGHAT_2014 = "Haghighat, Razian: Fast-FMI: non-reference image fusion metric. IEEE AICT, 2014"
_HAN_2013 = (
    "Han, Cai, Cao, Xu: A new image fusion performance metric based on visual information fidelity. Information "
    "Fusion 14(2), 2013"
)
_HOSSNY_2008 = (
    "Hossny, Nahavandi, Creighton: Comments on 'Information measure for performance of image fusion'. Electronics "
    "Letters 44(18), 2008"
)
_JAGALINGAM_2015 = "Jagalingam, Hegde: A Review of Quality Metrics for Fused Image. Aquatic Procedia 4, 2015"
_KUMAR_2013 = (
    "Shreyamsha Kumar: Multifocus and multispectral image fusion based on pixel significance using discrete cosine "
    "harmonic wavelet transform. Signal, Image and Video Processing 7, 2013"
)
_LIU_2012 = (
    "Liu et al.: Objective assessment of multiresolution image fusion algorithms for context enhancement in night "
    "vision. IEEE Transactions on Pattern Analysis and Machine Intelligence 34(1), 2012"
)
_MA_2015 = (
    "Ma, Zeng, Wang: Perceptual quality assessment for multi-exposure image fusion. IEEE Transactions on Image "
    "Processing 24(11), 2015"
)
_NAVA_2007 = (
    "Nava, Cristóbal, Escalante-Ramírez: Mutual information improves image fusion quality assessments. SPIE "
    "Newsroom, 2007; by the code of Liu et al., 2012"
)
_PETROVIC_2005 = "Petrović, Xydeas: Objective image fusion performance characterisation. ICCV 2005"
_PIELLA_2003 = "Piella, Heijmans: A new quality metric for image fusion. IEEE ICIP, 2003"
_QU_2002 = "Qu, Zhang, Yan: Information measure for performance of image fusion. Electronics Letters 38(7), 2002"
_RAJALINGAM_2018 = (
    "Rajalingam, Priya: Hybrid multimodality medical image fusion technique for feature enhancement in medical "
    "diagnosis. International Journal of Engineering Science Invention, 2018"
)
_RAO_1997 = (
    "elementary statistics; fusion papers cite Rao: In-fibre Bragg grating sensors. Measurement Science and "
    "Technology 8(4), 1997, which does not define it for images"
)
_ROBERTS_2008 = (
    "Roberts, van Aardt, Ahmed: Assessment of image fusion procedures using entropy, image quality, and "
    "multispectral classification. Journal of Applied Remote Sensing 2, 2008"
)
_SHEIKH_2006 = (
    "Sheikh, Bovik: Image information and visual quality. IEEE Transactions on Image Processing 15(2), 2006, in "
    "the pixel-domain form of its authors' code (vifp)"
)
_STUDHOLME_1999 = (
    "Studholme, Hill, Hawkes: An overlap invariant entropy measure of 3D medical image alignment. Pattern "
    "Recognition 32(1), 1999"
)
_WANG_2002 = "Wang, Bovik: A universal image quality index. IEEE Signal Processing Letters 9(3), 2002"
_WANG_2003 = (
    "Wang, Simoncelli, Bovik: Multiscale structural similarity for image quality assessment. Asilomar Conference "
    "on Signals, Systems and Computers, 2003"
)
_WANG_2004 = (
    "Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity. "
    "IEEE Transactions on Image Processing 13(4), 2004"
)
_WANG_2008 = (
    "Wang, Shen, Jin: Performance evaluation of image fusion techniques. In Stathaki (ed.): Image Fusion: "
    "Algorithms and Applications, Academic Press, 2008"
)
_WANG_ICSP_2008 = "Wang, Liu: A novel image fusion metric based on multi-scale analysis. ICSP, 2008"
_XUE_2014 = (
    "Xue, Zhang, Mou, Bovik: Gradient magnitude similarity deviation: a highly efficient perceptual image quality "
    "index. IEEE Transactions on Image Processing 23(2), 2014"
)
_XYDEAS_2000 = "Xydeas, Petrović: Objective image fusion performance measure. Electronics Letters 36(4), 2000"
_YANG_2008 = (
    "Yang, Zhang, Wang, Liu: A novel similarity based quality metric for image fusion. Information Fusion 9(2), 2008"
)
_ZHANG_2011 = (
    "Zhang, Zhang, Mou, Zhang: FSIM: A feature similarity index for image quality assessment. IEEE Transactions on "
    "Image Processing 20(8), 2011"
)
_ZHANG_2018 = (
    "Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric. "
    "CVPR, 2018"
)
_ZHANG_2020 = "Zhang, Ye, Xiao: VIFB: A Visible and Infrared Image Fusion Benchmark. CVPR Workshops, 2020, its code"
_ZHAO_2007 = (
    "Zhao, Laganière, Liu: Performance assessment of combinative pixel-level image fusion based on an absolute "
    "feature measurement. International Journal of Innovative Computing, Information and Control 3(6A), 2007"
)
_ZHAO_2023 = (
    "Zhao et al.: CDDFuse: Correlation-Driven Dual-Branch Feature Decomposition for Multi-Modality Image Fusion. "
    "CVPR, 2023, by its published evaluation code"
)
_ZHENG_2007 = (
    "Zheng, Essock, Hansen, Haun: A new metric based on extended spatial frequency and its application to DWT "
    "based fusion algorithms. Information Fusion 8(2), 2007"
)
_ZHOU_2024 = (
    "Zhou et al.: Edge-Enhanced Dilated Residual Attention Network for Multimodal Medical Image Fusion. IEEE BIBM, 2024"
)
_PETROVIC_BY_KUMAR = f"{_PETROVIC_2005}; constants of {_KUMAR_2013}"
_ZHOU_CODE = f"{_ZHOU_2024}, by its published evaluation code"

METRICS = (
    Facts("psnr", "psnr:PSNR", "higher", "peak signal-to-noise ratio, dB, mean over the sources", _JAGALINGAM_2015),
    Facts("ssim", "ssim:SSIM", "higher", "structural similarity, mean over the sources", _WANG_2004),
    Facts("en", "en:Entropy", "higher", "Shannon entropy of the 256-bin histogram, bits", _ROBERTS_2008),
    Facts("mi", "mi:MutualInformation", "higher", "mutual information with the sources, bits, summed", _QU_2002),
    Facts(
        "mi.nats",
        "mi:MutualInformationInNats",
        "higher",
        "mutual information with the sources, nats, summed (VIFB)",
        _QU_2002,
    ),
    Facts("mi.mean", "mi:MeanMutualInformation", "higher", "mutual information with the sources, bits, mean", _QU_2002),
    Facts(
        "nmi",
        "nmi:NormalizedMutualInformation",
        "higher",
        "normalised mutual information 2·I / (H + H), summed",
        _HOSSNY_2008,
    ),
    Facts(
        "nmi.mean",
        "nmi:MeanNormalizedMutualInformation",
        "higher",
        "normalised mutual information 2·I / (H + H), mean (scikit-learn)",
        _HOSSNY_2008,
    ),
    Facts(
        "nmi.joint",
        "nmi:JointNormalizedInformation",
        "higher",
        "normalised mutual information (H + H) / H(joint), mean",
        _STUDHOLME_1999,
    ),
    Facts("ce", "ce:CrossEntropy", "lower", "cross entropy of the histograms, bits, mean", _BULANON_2009),
    Facts(
        "qncie",
        "qncie:NonlinearCorrelation",
        "higher",
        "nonlinear correlation information entropy of all images",
        _WANG_2008,
    ),
    Facts(
        "qte",
        "qte:TsallisInformation",
        "higher",
        "Tsallis mutual information of order 1.85 with the sources, summed",
        _CVEJIC_2006,
    ),
    Facts(
        "qte.liu",
        "qte:SwappedTsallisInformation",
        "higher",
        "qte with swapped marginals, as a widespread toolbox has it",
        f"{_LIU_2012}, by its published code",
    ),
    Facts(
        "qte.nava",
        "qte:NormalizedTsallisInformation",
        "higher",
        "Tsallis information of order 0.43137, normalised, as that toolbox has it",
        _NAVA_2007,
    ),
    Facts(
        "en.float",
        "en:FloatEntropy",
        "higher",
        "Shannon entropy of the distinct float values, bits (EH-DRAN)",
        f"{_ZHOU_CODE} (scikit-image's shannon_entropy of a float image)",
    ),
    Facts("fmi.pixel", "fmi:PixelFMI", "higher", "feature mutual information of grey values, mean", _HAGHIGHAT_2014),
    Facts(
        "fmi.gradient",
        "fmi:GradientFMI",
        "higher",
        "feature mutual information of horizontal gradients, mean",
        _HAGHIGHAT_2014,
    ),
    Facts(
        "fmi.dct",
        "fmi:CosineFMI",
        "higher",
        "feature mutual information of the discrete cosine transform, mean",
        _HAGHIGHAT_2014,
    ),
    Facts(
        "fmi.wavelet",
        "fmi:WaveletFMI",
        "higher",
        "feature mutual information of the Meyer wavelet transform, mean",
        _HAGHIGHAT_2014,
    ),
    Facts("fmi.edge", "fmi:EdgeFMI", "higher", "feature mutual information of Sobel edge maps, mean", _HAGHIGHAT_2014),
    Facts("mse", "mse:MSE", "lower", "mean squared error, [0, 1], mean", _JAGALINGAM_2015),
    Facts("mse.255", "mse:MSE255", "lower", "mean squared error, grey levels of 0-255, mean", _JAGALINGAM_2015),
    Facts("rmse", "mse:RMSE", "lower", "root mean squared error, [0, 1], mean", _JAGALINGAM_2015),
    Facts("psnr.vifb", "psnr:VifbPSNR", "higher", "PSNR by VIFB's code: of √SSE / (H·W)", _ZHANG_2020),
    Facts(
        "psnr.cddfuse",
        "psnr:CddfusePSNR",
        "higher",
        "PSNR by CDDFuse's code: peak = the fused image's maximum",
        _ZHAO_2023,
    ),
    Facts("ssim.sum", "ssim:SumSSIM", "higher", "structural similarity, sum over the sources (VIFB)", _WANG_2004),
    Facts(
        "ssim.padded",
        "ssim:PaddedSSIM",
        "higher",
        "structural similarity, border mirrored, mean over the sources (torchmetrics)",
        _WANG_2004,
    ),
    Facts("ms-ssim", "ms_ssim:MultiScaleSSIM", "higher", "structural similarity at five scales, mean", _WANG_2003),
    Facts(
        "mef-ssim",
        "mef_ssim:MefSSIM",
        "higher",
        "structural similarity with all sources' strongest structures at once, three scales",
        _MA_2015,
    ),
    Facts("uqi", "uqi:UniversalQuality", "higher", "universal image quality index, mean", _WANG_2002),
    Facts("cc", "cc:Correlation", "higher", "linear correlation, mean", _DESHMUKH_2010),
    Facts("scd", "cc:DifferenceCorrelation", "higher", "sum of the correlations of differences", _ASLANTAS_2015),
    Facts(
        "vif",
        "vif:VisualInformationFidelity",
        "higher",
        "visual information fidelity in the pixel domain, summed",
        _SHEIKH_2006,
    ),
    Facts(
        "vif.mean",
        "vif:MeanVisualInformationFidelity",
        "higher",
        "visual information fidelity in the pixel domain, mean",
        _SHEIKH_2006,
    ),
    Facts("viff", "viff:FusionInformationFidelity", "higher", "visual information fidelity for fusion", _HAN_2013),
    Facts(
        "fsim",
        "fsim:FeatureSimilarity",
        "higher",
        "feature similarity: phase congruency and gradients, mean",
        _ZHANG_2011,
    ),
    Facts(
        "fsim.ehdran",
        "fsim:EhdranFeatureSimilarity",
        "higher",
        "feature similarity by EH-DRAN's code: nearly phase congruency alone, mean",
        _ZHOU_CODE,
    ),
    Facts(
        "gmsd", "gmsd:GradientSimilarityDeviation", "lower", "gradient magnitude similarity deviation, mean", _XUE_2014
    ),
    Facts("sd", "sd:StandardDeviation", "higher", "standard deviation, grey levels of 0-255", _RAO_1997),
    Facts("sf", "sf:SpatialFrequency", "higher", "spatial frequency, grey levels of 0-255", _ESKICIOGLU_1995),
    Facts("ag", "ag:AverageGradient", "higher", "average gradient, grey levels of 0-255", _CUI_2015),
    Facts(
        "ag.mn", "ag:AverageGradientPerPixel", "higher", "average gradient, divided by the number of pixels", _CUI_2015
    ),
    Facts(
        "sf.diff",
        "sf:DifferenceFrequency",
        "higher",
        "spatial frequency, divided by the number of differences",
        _ESKICIOGLU_1995,
    ),
    Facts(
        "ei",
        "ei:EdgeIntensity",
        "higher",
        "edge intensity: mean Sobel magnitude, grey levels of 0-255",
        _RAJALINGAM_2018,
    ),
    Facts("qsf", "qsf:FrequencyRatio", "higher", "ratio of spatial frequency error, 0 is ideal", _ZHENG_2007),
    Facts(
        "qsf.metricslab",
        "qsf:FrequencyRatioMetricsLab",
        "higher",
        "ratio of spatial frequency error, halved diagonals",
        _ZHENG_2007,
    ),
    Facts("qabf", "qabf:EdgePreservation", "higher", "edge information that the fused image keeps", _XYDEAS_2000),
    Facts(
        "qabf.kumar",
        "qabf:EdgePreservationKumar",
        "higher",
        "edges kept; with labf and nabf it adds up to 1",
        _PETROVIC_BY_KUMAR,
    ),
    Facts("labf", "nabf:FusionLoss", "lower", "edges lost", _PETROVIC_BY_KUMAR),
    Facts(
        "nabf",
        "nabf:FusionArtefacts",
        "lower",
        "edges added that no source has",
        f"{_KUMAR_2013}, after {_PETROVIC_2005}",
    ),
    Facts(
        "nabf.petrovic",
        "nabf:FusionArtefactsPetrovic",
        "lower",
        "edges added, each source counted twice",
        _PETROVIC_BY_KUMAR,
    ),
    Facts(
        "qg",
        "qg:LocalEdgePreservation",
        "higher",
        "edges kept, the mean of local ratios",
        f"{_LIU_2012}; after Xydeas and Petrović, 2000",
    ),
    Facts("qs", "qs:Structural", "higher", "structural similarity, sources weighed by local variance", _PIELLA_2003),
    Facts("qw", "qs:StructuralWeighted", "higher", "qs with windows weighed by their variance", _PIELLA_2003),
    Facts("qe", "qs:StructuralEdges", "higher", "qw times qw of the edge images", _PIELLA_2003),
    Facts(
        "qe.metricslab",
        "qs:StructuralEdgesOnly",
        "higher",
        "qw of the edge images alone",
        f"MetricsLab; after {_PIELLA_2003}",
    ),
    Facts("qcb", "qcb:ContrastPreservation", "higher", "local contrast kept, as the eye sees it", _CHEN_2009),
    Facts("qcv", "qcv:PerceivedError", "lower", "perceived error, weighed by regional saliency", _CHEN_2007),
    Facts(
        "qy", "qy:Similarity", "higher", "structural similarity, or the better source where sources differ", _YANG_2008
    ),
    Facts(
        "qc",
        "qc:CovarianceSimilarity",
        "higher",
        "similarity, sources weighed by covariance with the fused image",
        _CVEJIC_2005,
    ),
    Facts(
        "qc.liu",
        "qc:CovarianceSimilarityLiu",
        "higher",
        "qc with windows of opposite covariances set to 0 or 1",
        _CVEJIC_2005,
    ),
    Facts("qm", "qm:WaveletEdges", "higher", "Haar wavelet details kept, two scales", _WANG_ICSP_2008),
    Facts("qp", "qp:PhaseCongruency", "higher", "phase congruency features kept", _ZHAO_2007),
    Facts(
        "lpips.vgg19-pruned",
        "lpips:PrunedVGG19Distance",
        "lower",
        "distance of pruned VGG-19 features; needs its file",
        _ZHANG_2018,
        optional=True,
    ),
    Facts(
        "lpips.vgg16",
        "lpips:VGG16Distance",
        "lower",
        "distance of VGG-16 features; weights from the Hub",
        _ZHANG_2018,
        optional=True,
    ),
)
