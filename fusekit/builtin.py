"""The built-in components, registered through the same hooks as everyone else's."""

from __future__ import annotations

from collections.abc import Callable

from fusekit.models.specs import COMPOSED
from fusekit.registry.hooks import hookimpl

_DENSEFUSE = "Li, Wu: DenseFuse. IEEE Transactions on Image Processing 28(5), 2019"
_IFCNN = "Zhang et al.: IFCNN. Information Fusion 54, 2020"
_MSRPAN = "Fu et al.: A multiscale residual pyramid attention network for medical image fusion. BSPC 66, 2021"
_JAGALINGAM_2015 = "Jagalingam, Hegde: A Review of Quality Metrics for Fused Image. Aquatic Procedia 4, 2015"
_WANG_2004 = "Wang et al.: Image quality assessment. IEEE Transactions on Image Processing 13(4), 2004"
_RAO_1997 = "Rao: In-fibre Bragg grating sensors. Measurement Science and Technology 8(4), 1997, as the field cites it"
_QU_2002 = "Qu, Zhang, Yan: Information measure for performance of image fusion. Electronics Letters 38(7), 2002"
_HOSSNY_2008 = "Hossny, Nahavandi, Creighton: Comments on 'Information measure for performance of image fusion'. Electronics Letters 44(18), 2008"
_CVEJIC_2006 = "Cvejic, Canagarajah, Bull: Image fusion metric based on mutual information and Tsallis entropy. Electronics Letters 42(11), 2006"
_ZHOU_2024 = (
    "Zhou et al.: Edge-Enhanced Dilated Residual Attention Network for Multimodal Medical Image Fusion. IEEE BIBM, 2024"
)
_HAGHIGHAT_2014 = "Haghighat, Razian: Fast-FMI: non-reference image fusion metric. AICT, 2014"
_SHEIKH_2006 = "Sheikh, Bovik: Image information and visual quality. IEEE Transactions on Image Processing 15(2), 2006"
_CUI = "Cui et al.: Detail preserved fusion of visible and infrared images. Optics Communications 341, 2015"
_ESKICIOGLU = (
    "Eskicioglu, Fisher: Image quality measures and their performance. IEEE Transactions on Communications 43(12), 1995"
)
_RAJALINGAM = "Rajalingam, Priya: Hybrid multimodality medical image fusion technique. IJESI, 2018"
_ZHENG = "Zheng et al.: A new metric based on extended spatial frequency. Information Fusion 8(2), 2007"
_XYDEAS = "Xydeas, Petrović: Objective image fusion performance measure. Electronics Letters 36(4), 2000"
_PETROVIC = "Petrović, Xydeas: Objective image fusion performance characterisation. ICCV 2005"
_KUMAR = "Shreyamsha Kumar: Multifocus and multispectral image fusion. Signal, Image and Video Processing 7, 2013"
_LIU = "Liu et al.: Objective assessment of multiresolution image fusion algorithms. IEEE TPAMI 34(1), 2012"
_PIELLA = "Piella, Heijmans: A new quality metric for image fusion. ICIP 2003"
_CHEN_BLUM = "Chen, Blum: A new automated quality assessment algorithm for image fusion. IVC 27(10), 2009"
_CHEN_VARSHNEY = (
    "Chen, Varshney: A human perception inspired quality metric for image fusion. Information Fusion 8(2), 2007"
)
_YANG = "Yang et al.: A novel similarity based quality metric for image fusion. Information Fusion 9(2), 2008"
_CVEJIC = "Cvejic et al.: A similarity metric for assessment of image fusion algorithms. IJSP 2(3), 2005"
_WANG = "Wang, Liu: A novel image fusion metric based on multi-scale analysis. ICSP 2008"
_ZHAO = "Zhao, Laganière, Liu: Performance assessment of combinative pixel-level image fusion. IJICIC 3(6A), 2007"
_ZHANG_2018 = "Zhang et al.: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric. CVPR, 2018"
_RULES = (
    ("mean", "mean:Mean", "element-wise mean", ""),
    ("max", "max:Max", "element-wise maximum", _IFCNN),
    ("min", "min:Min", "element-wise minimum", ""),
    ("sum", "sum:Sum", "element-wise sum", _DENSEFUSE),
    ("l1", "l1:L1", "a weight a source: its share of the L1 norm", ""),
    ("l1-local", "l1_local:L1Local", "a weight a pixel: its share of the locally averaged L1 norm", _DENSEFUSE),
    ("energy", "energy:Energy", "a weight an element: its share of the energy, 0/0 = 0", _MSRPAN),
    ("weighted", "weighted:Weighted", "given weights: --rule-option weights=0.7,0.3", ""),
)
_EDGES = (
    ("none", "none:NoEdge", "no edge branch"),
    ("sobel", "gradient:Sobel", "Sobel gradient magnitude |∂x| + |∂y|"),
    ("scharr", "gradient:Scharr", "Scharr gradient magnitude |∂x| + |∂y|"),
    ("prewitt", "gradient:Prewitt", "Prewitt gradient magnitude |∂x| + |∂y|"),
    ("laplacian", "laplacian:Laplacian", "magnitude of the Laplacian"),
)
_METRICS = (
    (
        "psnr",
        "psnr:PSNR",
        "peak signal-to-noise ratio, dB, mean over the sources",
        _JAGALINGAM_2015,
    ),
    (
        "ssim",
        "ssim:SSIM",
        "structural similarity, mean over the sources",
        _WANG_2004,
    ),
    (
        "en",
        "en:Entropy",
        "Shannon entropy of the 256-bin histogram, bits",
        "Roberts et al.: Assessment of image fusion procedures. Journal of Applied Remote Sensing 2, 2008",
    ),
    (
        "mi",
        "mi:MutualInformation",
        "mutual information with the sources, bits, summed",
        _QU_2002,
    ),
    (
        "mi.nats",
        "mi:MutualInformationInNats",
        "mutual information with the sources, nats, summed (VIFB)",
        _QU_2002,
    ),
    (
        "mi.mean",
        "mi:MeanMutualInformation",
        "mutual information with the sources, bits, mean",
        _QU_2002,
    ),
    (
        "nmi",
        "nmi:NormalizedMutualInformation",
        "normalised mutual information 2·I / (H + H), summed",
        _HOSSNY_2008,
    ),
    (
        "nmi.mean",
        "nmi:MeanNormalizedMutualInformation",
        "normalised mutual information 2·I / (H + H), mean (scikit-learn)",
        _HOSSNY_2008,
    ),
    (
        "nmi.joint",
        "nmi:JointNormalizedInformation",
        "normalised mutual information (H + H) / H(joint), mean",
        "Studholme, Hill, Hawkes: An overlap invariant entropy measure of 3D medical image alignment. Pattern Recognition 32(1), 1999",
    ),
    (
        "ce",
        "ce:CrossEntropy",
        "cross entropy of the histograms, bits, mean; lower is better",
        "Bulanon, Burks, Alchanatis: Image fusion of visible and thermal images for fruit detection. Biosystems Engineering 103(1), 2009",
    ),
    (
        "qncie",
        "qncie:NonlinearCorrelation",
        "nonlinear correlation information entropy of all images",
        "Wang, Shen, Jin: Performance evaluation of image fusion techniques. In Stathaki (ed.): Image Fusion, Academic Press, 2008",
    ),
    (
        "qte",
        "qte:TsallisInformation",
        "Tsallis mutual information of order 1.85 with the sources, summed",
        _CVEJIC_2006,
    ),
    (
        "qte.liu",
        "qte:SwappedTsallisInformation",
        "qte with swapped marginals, as a widespread toolbox has it",
        _CVEJIC_2006,
    ),
    (
        "qte.nava",
        "qte:NormalizedTsallisInformation",
        "Tsallis information of order 0.43137, normalised, as that toolbox has it",
        "Nava, Cristóbal, Escalante-Ramírez: Mutual information improves image fusion quality assessments. SPIE Newsroom, 2007",
    ),
    (
        "en.float",
        "en:FloatEntropy",
        "Shannon entropy of the distinct float values, bits (EH-DRAN)",
        _ZHOU_2024,
    ),
    (
        "fmi.pixel",
        "fmi:PixelFMI",
        "feature mutual information of grey values, mean",
        _HAGHIGHAT_2014,
    ),
    (
        "fmi.gradient",
        "fmi:GradientFMI",
        "feature mutual information of horizontal gradients, mean",
        _HAGHIGHAT_2014,
    ),
    (
        "fmi.dct",
        "fmi:CosineFMI",
        "feature mutual information of the discrete cosine transform, mean",
        _HAGHIGHAT_2014,
    ),
    (
        "fmi.wavelet",
        "fmi:WaveletFMI",
        "feature mutual information of the Meyer wavelet transform, mean",
        _HAGHIGHAT_2014,
    ),
    (
        "fmi.edge",
        "fmi:EdgeFMI",
        "feature mutual information of Sobel edge maps, mean",
        _HAGHIGHAT_2014,
    ),
    (
        "mse",
        "mse:MSE",
        "mean squared error, [0, 1], mean; lower is better",
        _JAGALINGAM_2015,
    ),
    (
        "mse.255",
        "mse:MSE255",
        "mean squared error, grey levels of 0-255, mean; lower is better",
        _JAGALINGAM_2015,
    ),
    (
        "rmse",
        "mse:RMSE",
        "root mean squared error, [0, 1], mean; lower is better",
        _JAGALINGAM_2015,
    ),
    (
        "psnr.vifb",
        "psnr:VifbPSNR",
        "PSNR by VIFB's code: of √SSE / (H·W)",
        "Zhang, Ye, Xiao: VIFB: A Visible and Infrared Image Fusion Benchmark. CVPR Workshops, 2020",
    ),
    (
        "psnr.cddfuse",
        "psnr:CddfusePSNR",
        "PSNR by CDDFuse's code: peak = the fused image's maximum",
        "Zhao et al.: CDDFuse. CVPR, 2023",
    ),
    (
        "ssim.sum",
        "ssim:SumSSIM",
        "structural similarity, sum over the sources (VIFB)",
        _WANG_2004,
    ),
    (
        "ssim.padded",
        "ssim:PaddedSSIM",
        "structural similarity, border mirrored, mean over the sources (torchmetrics)",
        _WANG_2004,
    ),
    (
        "ms-ssim",
        "ms_ssim:MultiScaleSSIM",
        "structural similarity at five scales, mean",
        "Wang, Simoncelli, Bovik: Multiscale structural similarity for image quality assessment. Asilomar Conference, 2003",
    ),
    (
        "mef-ssim",
        "mef_ssim:MefSSIM",
        "structural similarity with all sources' strongest structures at once, three scales",
        "Ma, Zeng, Wang: Perceptual quality assessment for multi-exposure image fusion. IEEE Transactions on Image Processing 24(11), 2015",
    ),
    (
        "uqi",
        "uqi:UniversalQuality",
        "universal image quality index, mean",
        "Wang, Bovik: A universal image quality index. IEEE Signal Processing Letters 9(3), 2002",
    ),
    (
        "cc",
        "cc:Correlation",
        "linear correlation, mean",
        "Deshmukh, Bhosale: Image fusion and image quality assessment of fused images. International Journal of Image Processing 4(5), 2010",
    ),
    (
        "scd",
        "cc:DifferenceCorrelation",
        "sum of the correlations of differences",
        "Aslantas, Bendes: A new image quality metric for image fusion. AEU International Journal of Electronics and Communications 69(12), 2015",
    ),
    (
        "vif",
        "vif:VisualInformationFidelity",
        "visual information fidelity in the pixel domain, summed",
        _SHEIKH_2006,
    ),
    (
        "vif.mean",
        "vif:MeanVisualInformationFidelity",
        "visual information fidelity in the pixel domain, mean",
        _SHEIKH_2006,
    ),
    (
        "viff",
        "viff:FusionInformationFidelity",
        "visual information fidelity for fusion",
        "Han et al.: A new image fusion performance metric based on visual information fidelity. Information Fusion 14(2), 2013",
    ),
    (
        "fsim",
        "fsim:FeatureSimilarity",
        "feature similarity: phase congruency and gradients, mean",
        "Zhang, Zhang, Mou, Zhang: FSIM: A feature similarity index for image quality assessment. IEEE Transactions on Image Processing 20(8), 2011",
    ),
    (
        "fsim.ehdran",
        "fsim:EhdranFeatureSimilarity",
        "feature similarity by EH-DRAN's code: nearly phase congruency alone, mean",
        _ZHOU_2024,
    ),
    (
        "gmsd",
        "gmsd:GradientSimilarityDeviation",
        "gradient magnitude similarity deviation, mean; lower is better",
        "Xue et al.: Gradient magnitude similarity deviation. IEEE Transactions on Image Processing 23(2), 2014",
    ),
    ("sd", "sd:StandardDeviation", "standard deviation, grey levels of 0-255", _RAO_1997),
    (
        "sf",
        "sf:SpatialFrequency",
        "spatial frequency, grey levels of 0-255",
        _ESKICIOGLU,
    ),
    (
        "ag",
        "ag:AverageGradient",
        "average gradient, grey levels of 0-255",
        _CUI,
    ),
    ("ag.mn", "ag:AverageGradientPerPixel", "average gradient, divided by the number of pixels", _CUI),
    ("sf.diff", "sf:DifferenceFrequency", "spatial frequency, divided by the number of differences", _ESKICIOGLU),
    ("ei", "ei:EdgeIntensity", "edge intensity: mean Sobel magnitude, grey levels of 0-255", _RAJALINGAM),
    ("qsf", "qsf:FrequencyRatio", "ratio of spatial frequency error, 0 is ideal", _ZHENG),
    ("qsf.metricslab", "qsf:FrequencyRatioMetricsLab", "ratio of spatial frequency error, halved diagonals", _ZHENG),
    ("qabf", "qabf:EdgePreservation", "edge information that the fused image keeps", _XYDEAS),
    ("qabf.kumar", "qabf:EdgePreservationKumar", "edges kept; with labf and nabf it adds up to 1", _PETROVIC),
    ("labf", "nabf:FusionLoss", "edges lost; lower is better", _PETROVIC),
    ("nabf", "nabf:FusionArtefacts", "edges added that no source has; lower is better", _KUMAR),
    ("nabf.petrovic", "nabf:FusionArtefactsPetrovic", "edges added, each source counted twice", _PETROVIC),
    ("qg", "qg:LocalEdgePreservation", "edges kept, the mean of local ratios", _LIU),
    ("qs", "qs:Structural", "structural similarity, sources weighed by local variance", _PIELLA),
    ("qw", "qs:StructuralWeighted", "qs with windows weighed by their variance", _PIELLA),
    ("qe", "qs:StructuralEdges", "qw times qw of the edge images", _PIELLA),
    ("qe.metricslab", "qs:StructuralEdgesOnly", "qw of the edge images alone", _PIELLA),
    ("qcb", "qcb:ContrastPreservation", "local contrast kept, as the eye sees it", _CHEN_BLUM),
    ("qcv", "qcv:PerceivedError", "perceived error, weighed by regional saliency; lower is better", _CHEN_VARSHNEY),
    ("qy", "qy:Similarity", "structural similarity, or the better source where sources differ", _YANG),
    ("qc", "qc:CovarianceSimilarity", "similarity, sources weighed by covariance with the fused image", _CVEJIC),
    ("qc.liu", "qc:CovarianceSimilarityLiu", "qc with windows of opposite covariances set to 0 or 1", _CVEJIC),
    ("qm", "qm:WaveletEdges", "Haar wavelet details kept, two scales", _WANG),
    ("qp", "qp:PhaseCongruency", "phase congruency features kept", _ZHAO),
)
# They need weights that do not come with the package.
_LEARNED_METRICS = (
    (
        "lpips.vgg19-pruned",
        "lpips:PrunedVGG19Distance",
        "distance of pruned VGG-19 features; needs its file; lower is better",
        _ZHANG_2018,
    ),
    (
        "lpips.vgg16",
        "lpips:VGG16Distance",
        "distance of VGG-16 features; weights from the Hub; lower is better",
        _ZHANG_2018,
    ),
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(COMPOSED)


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    for name, target, summary, citation in _RULES:
        register(name, f"fusekit.rules.{target}", summary=summary, citation=citation)


@hookimpl
def register_edge_operators(register: Callable[..., None]) -> None:
    for name, target, summary in _EDGES:
        register(name, f"fusekit.edges.{target}", summary=summary)


@hookimpl
def register_formats(register: Callable[..., None]) -> None:
    register(
        "raster",
        "fusekit.images.formats.raster:Raster",
        extensions=(".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"),
        summary="PNG, TIFF, JPEG and BMP: pictures of 8 and 16 bits, TIFF of floats too",
    )


@hookimpl
def register_aligners(register: Callable[..., None]) -> None:
    register("first", "fusekit.images.align:First", summary="resample pictures to the size of the first")


@hookimpl
def register_metrics(register: Callable[..., None]) -> None:
    for name, target, summary, citation in _METRICS:
        register(name, f"fusekit.metrics.{target}", summary=summary, citation=citation)
    for name, target, summary, citation in _LEARNED_METRICS:
        register(name, f"fusekit.metrics.{target}", summary=summary, citation=citation, optional=True)
