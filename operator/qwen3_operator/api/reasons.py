"""Every reason that a condition or an Event of ours can have: what it means, what to do, and who has to do it.

A reason is written here once. The code has no other (a test and `Conditions.set` hold that), and docs/reasons.md is
made from it. The message of a condition says the same of the case at hand, with names and numbers.
"""

from __future__ import annotations

from enum import Enum, StrEnum, unique
from typing import Self


class Topic(StrEnum):
    """What a reason is about: the parts of docs/reasons.md."""

    SUMMARY = "The summary"
    SPEC = "What the spec says"
    REFERENCES = "What the spec refers to"
    CHILDREN = "What the API server refuses"
    WEIGHTS = "The volume and the download"
    FIT = "Whether it fits the GPUs"
    NODE = "A node for the pod"
    IMAGE = "The image and the container"
    START = "The start of vLLM"
    SERVERS = "The servers"
    GATEWAY = "The route at the Gateway"
    BATCH = "The batch"


class Act(Enum):
    """Who has to act."""

    NOBODY = "nobody"
    ITSELF = "nobody: it passes, or is tried again"
    PERSON = "a person"
    PERSON_LATER = "a person, if it is still so 10 s after the spec was applied"
    PERSON_WITHOUT_NODE = "a person, if after 30 s nothing has begun to add a node for it"
    PERSON_IF_AGAIN = "a person, if it comes a third time"
    PERSON_IF_LASTS = "a person, if it lasts for 5 minutes"


def _well(word: str, topic: Topic, meaning: str) -> tuple[str, Topic, Act, str, str]:
    """All is well, or on its way."""
    return word, topic, Act.NOBODY, meaning, ""


def _note(word: str, topic: Topic, meaning: str, remedy: str) -> tuple[str, Topic, Act, str, str]:
    """It works, but perhaps not as its author thinks."""
    return word, topic, Act.NOBODY, meaning, remedy


def _passes(word: str, topic: Topic, meaning: str, remedy: str = "") -> tuple[str, Topic, Act, str, str]:
    """It is in the way, and passes or is tried again. `remedy`: what would help."""
    return word, topic, Act.ITSELF, meaning, remedy


def _person(word: str, topic: Topic, meaning: str, remedy: str) -> tuple[str, Topic, Act, str, str]:
    """Nothing moves until a person acts."""
    return word, topic, Act.PERSON, meaning, remedy


def _missing(word: str, topic: Topic, meaning: str, remedy: str) -> tuple[str, Topic, Act, str, str]:
    """A reference to what is not there; it may have been applied together with the object, and be on its way."""
    return word, topic, Act.PERSON_LATER, meaning, remedy


def _again(word: str, topic: Topic, meaning: str, remedy: str) -> tuple[str, Topic, Act, str, str]:
    """A container ended, and is started again: one node, or bad luck, may be all that it was."""
    return word, topic, Act.PERSON_IF_AGAIN, meaning, remedy


def _lasting(word: str, topic: Topic, meaning: str, remedy: str) -> tuple[str, Topic, Act, str, str]:
    """The kubelet tries it again and again; what fails is perhaps not ours."""
    return word, topic, Act.PERSON_IF_LASTS, meaning, remedy


def _unplaced(word: str, meaning: str, remedy: str) -> tuple[str, Topic, Act, str, str]:
    """No node takes the pod; one that does may be on its way."""
    return word, Topic.NODE, Act.PERSON_WITHOUT_NODE, meaning, remedy


_S, _R, _C, _W, _F = Topic.SPEC, Topic.REFERENCES, Topic.CHILDREN, Topic.WEIGHTS, Topic.FIT
_N, _I, _V, _U, _B, _A = Topic.NODE, Topic.IMAGE, Topic.START, Topic.SERVERS, Topic.BATCH, Topic.SUMMARY
_G = Topic.GATEWAY


@unique
class Reason(StrEnum):
    """A reason, in one CamelCase word."""

    topic: Topic
    act: Act
    meaning: str
    remedy: str

    def __new__(cls, word: str, topic: Topic, act: Act, meaning: str, remedy: str) -> Self:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.topic, reason.act, reason.meaning, reason.remedy = topic, act, meaning, remedy
        return reason

    @property
    def needs_person(self) -> bool:
        """Whether nothing moves until a person acts."""
        return self.act not in (Act.NOBODY, Act.ITSELF)

    @classmethod
    def of(cls, word: object) -> Reason:
        """The reason with this word. Raises ValueError."""
        return cls(word)  # type: ignore[call-arg, arg-type]

    @classmethod
    def known(cls, word: object, otherwise: Reason) -> Reason:
        """The reason with this word. `otherwise`: for a word from outside that is not one of ours."""
        try:
            return cls.of(word)
        except ValueError:
            return otherwise

    # fmt: off
    # ---- Ready, Reconciling, Stalled
    SERVING = _well("Serving", _A, "every server is ready, and the endpoint answers")
    SCALED_TO_ZERO = _well(
        "ScaledToZero", _A, "spec.replicas is 0, or nobody asks, and no server runs: that is what was asked for")
    READY = _well("Ready", _A, "the weights are verified and in place")
    COMPLETED = _well("Completed", _A, "every line of the batch has its answer")
    SUSPENDED = _well("Suspended", _A, "spec.suspend is true, and nothing runs")
    SETTLED = _well("Settled", _A, "nothing is under way")
    NOT_STALLED = _well("NotStalled", _A, "nothing waits for a person")
    WAITING = _well("Waiting", _A, "it waits for what comes before it")
    RECONCILE_FAILED = _passes(
        "ReconcileFailed", _A, "the operator failed several times at this object; it goes on trying",
        "read the message; if it lasts, see the operator's log")

    # ---- Accepted: the spec itself
    ACCEPTED = _well("Accepted", _S, "the spec makes sense for this model and engine")
    ACCEPTED_WITH_WARNINGS = _note(
        "AcceptedWithWarnings", _S, "the spec is carried out, but not all of it as its author may think",
        "read the message")
    INVALID_SPEC = _person(
        "InvalidSpec", _S, "the operator cannot read the spec, though the API server took it",
        "install the CRDs of the operator's own release, or correct the field that the message names")
    INVALID_PATCH = _person(
        "InvalidPatch", _S, "spec.podTemplatePatch does not fit the pod template", "correct the patch")
    MODEL_NOT_SERVED = _person("ModelNotServed", _S, "vLLM does not serve this model", "choose another model")
    THINKING_NOT_SWITCHABLE = _person(
        "ThinkingNotSwitchable", _S, "this model always thinks, or never does",
        "choose its sibling, or leave spec.engine.thinking out")
    SPECULATIVE_DECODING_NOT_APPLICABLE = _person(
        "SpeculativeDecodingNotApplicable", _S, "this model or engine has no such speculative decoding",
        "leave spec.engine.speculativeDecoding out")
    AUTOSCALER_MISSING = _note(
        "AutoscalerMissing", _S,
        "nothing can scale the servers: KEDA is not there, or the operator is not configured for it",
        "install KEDA, and set autoscaling.enabled of the operator's chart")
    AUTOSCALER_FAILING = _note(
        "AutoscalerFailing", _S, "KEDA does not see the load; no server goes",
        "see whether Prometheus can be reached, and scrapes the servers")
    CAPACITY_NOT_MEASURED = _note(
        "CapacityNotMeasured", _S, "the load that a server shall have is not measured yet; the number of servers stays",
        "wait until a server was measured; or give autoscaling.target.concurrency")
    BENCHMARK_WITHOUT_EFFECT = _note(
        "BenchmarkWithoutEffect", _S, "spec.benchmark measures models that generate, by the operator's middleware",
        "leave spec.benchmark out, or choose vLLM 0.16 or newer")
    BENCHMARK_FAILED = _note(
        "BenchmarkFailed", _U, "the servers serve; the measurement of what they can bear failed, and is not repeated",
        "read the server's log; delete the ConfigMap NAME-capacity and restart a server to measure again")
    CAPACITY_BELOW_TARGET = _note(
        "CapacityBelowTarget", _U, "not even one request keeps the time to the first token of spec.benchmark",
        "give a longer time, or a faster GPU")
    SERVERS_SLOWER = _note(
        "ServersSlower", _U, "the newest servers were measured more than 10 % slower than those before",
        "look what changed: image, arguments, GPU; go back where that was not meant")
    ENGINE_VERSION_UNKNOWN = _note(
        "EngineVersionUnknown", _S, "vLLM's version is not in the image's tag, or is newer than this operator",
        "name it in spec.engine.version")
    ENGINE_VERSION_TOO_OLD = _person(
        "EngineVersionTooOld", _S, "this version of vLLM does not know the model", "choose a newer spec.engine.image")
    UNSUPPORTED_BY_ENGINE = _person(
        "UnsupportedByEngine", _S, "this version of vLLM lacks what a field asks for",
        "choose a newer image, or leave the field out")
    KEYS_NOT_ASKED = _person(
        "KeysNotAsked", _S, "a server of this spec would not ask for the keys of spec.auth.keys, or not for them alone",
        "leave out the variable or argument that the message names")
    ADAPTER_UNSUITABLE = _person(
        "AdapterUnsuitable", _S, "a LoRA adapter was made for another model, or needs what vLLM cannot do",
        "name another adapter, or the model that it was made for")
    ADAPTER_DOUBTFUL = _note(
        "AdapterDoubtful", _S, "a LoRA adapter does not name the model that it was made for; its shape fits",
        "look whether its answers are right")
    ADAPTER_WITHOUT_PLACE = _person(
        "AdapterWithoutPlace", _R, "the model of a LoRA adapter has no claim of its own that the adapter could lie on",
        "serve a model that the operator downloads")
    ADAPTERS_EXCLUDED = _person(
        "AdaptersExcluded", _S, "spec.engine.loraAdapters and another part of the spec exclude each other",
        "leave out, or change, what the message names")
    LIMITS_OF_EACH_PROCESS = _note(
        "LimitsOfEachProcess", _S, "spec.auth.limits count in each API server process by itself",
        "divide them by the number of processes, or have one in each pod")
    UNKNOWN_ARGUMENT = _person(
        "UnknownArgument", _S, "this version of vLLM does not have the flag", "correct spec.engine.extraArgs")
    AMBIGUOUS_ARGUMENT = _person(
        "AmbiguousArgument", _S, "several flags of vLLM begin like this one", "write the flag in full")
    UNEXPECTED_ARGUMENT = _person(
        "UnexpectedArgument", _S, "a word of spec.engine.extraArgs belongs to no flag", "correct spec.engine.extraArgs")
    OWNED_ARGUMENT = _person(
        "OwnedArgument", _S, "the operator sets this flag itself", "use the field that the message names")
    WRONG_ARGUMENT_VALUE = _person(
        "WrongArgumentValue", _S, "a flag has a value that it does not take", "correct spec.engine.extraArgs")
    MAX_MODEL_LEN_TOO_LONG = _person(
        "MaxModelLenTooLong", _S, "the model cannot do such a length", "lower spec.engine.maxModelLen")
    ILLEGAL_PARALLELISM = _person(
        "IllegalParallelism", _S, "the model cannot be split like this",
        "choose a size that the message names")
    SHARED_GPU = _note(
        "SharedGpu", _S, "the GPUs are shares of a card, and the spec asks for more than a share",
        "lower what the message names, or choose whole GPUs")
    REASONING_PARSER_NOT_APPLICABLE = _person(
        "ReasoningParserNotApplicable", _S, "the model generates no text",
        "leave spec.engine.reasoningParser out")
    REASONING_PARSER_UNSUITABLE = _person(
        "ReasoningParserUnsuitable", _S, "the parser would cut this model's answers wrongly",
        "use auto, or the parser that the message names")
    REASONING_PARSER_DOUBTFUL = _note(
        "ReasoningParserDoubtful", _S, "the parser misreads some of this model's answers",
        "use auto, or the parser that the message names")
    UNKNOWN_REASONING_PARSER = _person(
        "UnknownReasoningParser", _S, "this version of vLLM has no such reasoning parser",
        "use auto, or a parser that the message names")
    TOOL_CALL_PARSER_NOT_APPLICABLE = _person(
        "ToolCallParserNotApplicable", _S, "the model generates no text", "leave spec.engine.toolCallParser out")
    TOOL_CALL_PARSER_UNSUITABLE = _person(
        "ToolCallParserUnsuitable", _S, "the parser does not read this model's tool calls",
        "use auto, or the parser that the message names")
    UNKNOWN_TOOL_CALL_PARSER = _person(
        "UnknownToolCallParser", _S, "this version of vLLM has no such tool-call parser",
        "use auto, or a parser that the message names")
    DTYPE_NOT_SUPPORTED = _person(
        "DtypeNotSupported", _S, "the GPU does not have this number format", "set spec.engine.dtype to half")
    QUANTIZATION_NOT_SUPPORTED = _person(
        "QuantizationNotSupported", _S, "the GPU or the engine cannot run this quantization",
        "choose another checkpoint or GPU")
    SIZE_WITHOUT_EFFECT = _note(
        "SizeWithoutEffect", _S, "the field asks for less than the claim has, and a claim cannot shrink",
        "take the field back; a smaller claim is a new one")
    FIELD_WITHOUT_EFFECT = _note(
        "FieldWithoutEffect", _S, "the field cannot change in a claim that exists",
        "take the field back; or turn the cache off, delete the claim, and turn it on again")
    CLAIM_UNUSED = _note(
        "ClaimUnused", _S, "the compile cache is off, and its claim is still there", "delete the claim")
    MIDDLEWARE_NOT_LOADED = _note(
        "MiddlewareNotLoaded", _S, "a server runs without the operator's middleware",
        "name an image whose Python can load it; the message says what is wrong")
    FRONT_FULL = _note(
        "FrontFull", _S, "the front has no port left: requests are not held while no server is ready",
        "raise front.ports in the chart's values")
    INVALID_MODEL_CONFIG = _person(
        "InvalidModelConfig", _S, "the model's config.json makes no sense", "correct it, or choose another model")
    INSECURE_ENDPOINT = _person(
        "InsecureEndpoint", _S, "the token would go over http://, where it can be read",
        "use https://, or have an administrator add the hub to insecureEndpoints")
    ENDPOINT_NOT_ALLOWED = _person(
        "EndpointNotAllowed", _S, "the administrator does not allow to send a token to this hub",
        "name a hub that the message lists, or have an administrator add it to tokenEndpoints")
    EDITED_TOO_LATE = _note(
        "EditedTooLate", _S, "the batch has ended: an edit changes nothing any more", "make another Qwen3Batch")
    OUTPUT_IS_INPUT = _person("OutputIsInput", _S, "a batch would write over its own input", "name another output")

    # ---- Accepted: what the spec refers to
    SECRET_NOT_FOUND = _missing("SecretNotFound", _R, "the Secret does not exist", "create it, or correct the name")
    SECRET_KEY_NOT_FOUND = _missing(
        "SecretKeyNotFound", _R, "the Secret lacks the key", "add the key, or correct its name")
    CONFIG_MAP_NOT_FOUND = _missing(
        "ConfigMapNotFound", _R, "the ConfigMap does not exist", "create it, or correct the name")
    CONFIG_MAP_KEY_NOT_FOUND = _missing(
        "ConfigMapKeyNotFound", _R, "the ConfigMap lacks the key", "add the key, or correct its name")
    CLAIM_NOT_FOUND = _missing(
        "ClaimNotFound", _R, "the PersistentVolumeClaim does not exist", "create it, or correct the name")
    DEPLOYMENT_NOT_FOUND = _missing(
        "DeploymentNotFound", _R, "the Qwen3Deployment that spec.deploymentRef names does not exist",
        "create it, or name the model in the batch")
    QWEN3_MODEL_NOT_FOUND = _missing(
        "Qwen3ModelNotFound", _R, "the Qwen3Model that spec.modelRef or spec.adapterOf names does not exist",
        "create it, or correct the name")
    OTHER_HUB = _note(
        "OtherHub", _R, "the shared Qwen3Model takes its files from another hub than this object names",
        "name the same endpoint, or a model of its own by spec.modelRef")
    VOLUME_CLAIM_MISSING = _missing(
        "VolumeClaimMissing", _R, "the scheduler misses a PersistentVolumeClaim", "create it, or correct the name")
    SERVICE_ACCOUNT_MISSING = _missing(
        "ServiceAccountMissing", _R, "the ServiceAccount does not exist", "create it, or correct the patch")
    PRIORITY_CLASS_MISSING = _missing(
        "PriorityClassMissing", _R, "the PriorityClass does not exist", "create it, or correct the name")
    RUNTIME_CLASS_MISSING = _missing(
        "RuntimeClassMissing", _R, "the RuntimeClass does not exist", "create it, or correct the name")

    # ---- Accepted, Available: what the API server refuses
    NAME_TAKEN = _person(
        "NameTaken", _C, "an object of somebody else has the name that is needed; it is left alone",
        "delete or rename it, or give this object another name")
    QWEN3_MODEL_REFUSED = _person(
        "Qwen3ModelRefused", _C, "the API server refuses the Qwen3Model", "do as the message says")
    SERVICE_REFUSED = _person("ServiceRefused", _C, "the API server refuses the Service", "do as the message says")
    ENDPOINT_SLICE_REFUSED = _person(
        "EndpointSliceRefused", _C, "the API server refuses the EndpointSlice of the front", "do as the message says")
    CLAIM_REFUSED = _person(
        "PersistentVolumeClaimRefused", _C, "the API server refuses the claim", "do as the message says")
    DEPLOYMENT_REFUSED = _person(
        "DeploymentRefused", _C, "the API server refuses the Deployment", "do as the message says")
    POD_DISRUPTION_BUDGET_REFUSED = _person(
        "PodDisruptionBudgetRefused", _C, "the API server refuses the PodDisruptionBudget", "do as the message says")
    SCALED_OBJECT_REFUSED = _person(
        "ScaledObjectRefused", _C, "the API server refuses the ScaledObject", "do as the message says")
    HTTPROUTE_REFUSED = _person(
        "HTTPRouteRefused", _C, "the API server refuses the HTTPRoute", "do as the message says")
    INFERENCE_POOL_REFUSED = _person(
        "InferencePoolRefused", _C, "the API server refuses the InferencePool", "do as the message says")
    CONFIG_MAP_REFUSED = _person(
        "ConfigMapRefused", _C, "the API server refuses the ConfigMap", "do as the message says")
    JOB_REFUSED = _person("JobRefused", _C, "the API server refuses the Job", "do as the message says")
    POD_NOT_CREATED = _passes(
        "PodNotCreated", _C, "the API server, or a webhook of it, failed at the pods; they are tried again",
        "do as the message says if it lasts")
    POD_REFUSED = _person("PodRefused", _C, "the API server refuses the pods", "do as the message says")
    QUOTA_EXCEEDED = _person(
        "QuotaExceeded", _C, "the namespace's quota has no room for it, whatever else ends",
        "raise the quota, or lower replicas, parallelism or resources")
    QUOTA_USED_UP = _passes(
        "QuotaUsedUp", _C, "others use the namespace's quota up, or servers that end; pods are tried again",
        "nothing, where what uses it ends; else raise the quota")
    POD_SECURITY_VIOLATION = _person(
        "PodSecurityViolation", _C, "the namespace's Pod Security level forbids the pods",
        "change spec.podTemplatePatch, or the namespace's label")
    ADMISSION_DENIED = _person(
        "AdmissionDenied", _C, "an admission webhook refuses the pods", "change what it objects to")

    # ---- VolumeBound, Downloaded, ModelReady
    NO_MODEL = _well("NoModel", _W, "the Qwen3Model is not made yet")
    BOUND = _well("Bound", _W, "the claim has its volume")
    PENDING = _well("Pending", _W, "the claim waits for its volume; some bind only with their first pod")
    VOLUME_NOT_BOUND = _missing(
        "VolumeNotBound", _W, "the claim gets no volume",
        "create what is missing, or name another storageClassName")
    PROVISIONER_FAILED = _passes(
        "ProvisionerFailed", _W, "the provisioner of the volume failed, and tries again",
        "see the storage driver if it lasts")
    VOLUME_LOST = _person("VolumeLost", _W, "the volume of the claim is gone", "delete the claim: it is made anew")
    LISTING = _well("Listing", _W, "the hub is asked how large the repository is")
    DOWNLOADING = _well("Downloading", _W, "the download is under way")
    VERIFYING = _well("Verifying", _W, "the files are verified")
    VERIFIED = _well("Verified", _W, "every file is verified")
    STRUCTURE_VERIFIED = _note(
        "StructureVerified", _W, "the files look right, but no hub and no marker vouches for their bytes",
        "nothing, where you trust who filled the claim")
    SERVES_REVISION_BEFORE = _well(
        "ServesRevisionBefore", _W, "the revision before is served until the next one is in place")
    VERIFIED_AGAIN = _well("VerifiedAgain", _W, "the copy is served, and verified again because a server doubted it")
    INVALID_TOKEN = _person(
        "InvalidToken", _W, "the access token has characters that no token has", "correct the Secret's value")
    INVALID_PROXY = _person(
        "InvalidProxy", _W, "the proxy's address is none", "correct the operator's setting, or the Secret of the proxy")
    INVALID_CERTIFICATES = _person(
        "InvalidCertificates", _W, "the trusted certificates cannot be read", "correct the ConfigMap: PEM is wanted")
    PROXY_UNAVAILABLE = _passes(
        "ProxyUnavailable", _W, "the proxy cannot be reached, or refuses; the download is tried again",
        "check the proxy's address and credentials if it lasts")
    HUB_UNAVAILABLE = _passes(
        "HubUnavailable", _W, "the hub cannot be reached, or does not answer; the download is tried again",
        "check the network, proxy and endpoint if it lasts")
    DOWNLOAD_FAILED = _passes(
        "DownloadFailed", _W, "the download ended without a reason of its own; it is tried again",
        "read the log of the Job's pod if it lasts")
    OUT_OF_MEMORY = _passes(
        "OutOfMemory", _W, "the download used more memory than its limit; it is tried again",
        "lower spec.download.maxConnections if it lasts")
    STOPPED = _passes("Stopped", _W, "the download was stopped; it continues where it was")
    MODEL_NOT_FOUND = _person(
        "ModelNotFound", _W, "the hub does not know the model, or not for this token", "correct the id or the token")
    REVISION_NOT_FOUND = _person(
        "RevisionNotFound", _W, "the model has no such revision", "correct spec.model.revision")
    UNAUTHORIZED = _person(
        "Unauthorized", _W, "the hub wants a token, or does not accept this one",
        "give a token that may read the model")
    INTEGRITY_ERROR = _person(
        "IntegrityError", _W, "the files are not what the hub's listing says",
        "try another endpoint; on an existing claim, fill it again")
    INVALID_REPOSITORY = _person(
        "InvalidRepository", _W, "the repository is no model: no config.json, no weights, or an unsafe path",
        "choose another repository, or correct the patterns")
    USAGE = _person(
        "Usage", _W, "the downloader does not take its arguments",
        "use the downloader's image of the operator's release")
    DISK_FULL = _person("DiskFull", _W, "a volume is too small", "enlarge it, as the message says")
    VOLUME_NOT_WRITABLE = _person(
        "VolumeNotWritable", _W, "the download's user may not write to the volume",
        "give its root folder to the group of the pods, or set runAsUser and fsGroup of download.pod")
    VOLUME_NOT_READABLE = _person(
        "VolumeNotReadable", _W, "the download's user may not read files on the claim",
        "let the group of the pods read them, or set runAsUser and fsGroup of download.pod")

    VOLUME_ERROR = _passes(
        "VolumeError", _W, "the volume fails (EIO, ESTALE), or files to remove are still open; it is tried again",
        "look at the storage if it lasts")

    # ---- Fits
    FITS = _well("Fits", _F, "by all that is known the servers fit their GPUs")
    FITS_AS_SEEN = _well("FitsAsSeen", _F, "a server of this spec is up, though it was not expected to fit")
    FITS_SOME_NODES = _note(
        "FitsSomeNodes", _F, "it fits the larger of the GPUs that it may get",
        "name the larger ones in spec.scheduling.nodeSelector")
    TIGHT = _note("Tight", _F, "it may or may not fit", "change what the message names")
    DOES_NOT_FIT = _person(
        "DoesNotFit", _F, "it will not fit; under preflight Enforce no server is made",
        "change what the message names, or set spec.preflight to Warn")
    NOT_CHECKED = _well("NotChecked", _F, "spec.preflight is Off, or it is not checked yet")
    UNKNOWN = _note("Unknown", _F, "the model's config.json or the GPU's memory is not known", "give spec.gpu.memory")

    # ---- Scheduled
    SCHEDULED = _well("Scheduled", _N, "every pod has a node")
    SCHEDULING = _well("Scheduling", _N, "the pods wait for their nodes")
    INSUFFICIENT_GPU = _passes(
        "InsufficientGpu", _N, "no node has enough free GPUs", "free GPUs, add a node, or lower the parallelism")
    PREEMPTED = _passes(
        "Preempted", _N, "a pod of higher priority took the place of a server, and there is no room for a new one",
        "free GPUs, add a node, or raise spec.scheduling.priorityClassName")
    INSUFFICIENT_HOST_RESOURCES = _passes(
        "InsufficientHostResources", _N, "no node has enough CPU, memory or disk", "lower the requests, or add a node")
    NODE_NOT_READY = _passes("NodeNotReady", _N, "the nodes are not ready", "see the nodes")
    NODES_CORDONED = _passes("NodesCordoned", _N, "the nodes are cordoned", "uncordon a node")
    SCHEDULING_GATED = _passes(
        "SchedulingGated", _N, "a scheduling gate holds the pod back", "lift the gate, or wait for who set it")
    UNTOLERATED_TAINT = _unplaced(
        "UntoleratedTaint", "the nodes have a taint that the pod does not tolerate",
        "add it to spec.scheduling.tolerations")
    NODE_SELECTOR_MISMATCH = _unplaced(
        "NodeSelectorMismatch", "no node has the labels that are asked for",
        "correct spec.scheduling, or label a node")
    TOPOLOGY_SPREAD = _unplaced(
        "TopologySpread", "spreading or anti-affinity leaves no node", "relax spec.scheduling")
    VOLUME_ON_OTHER_NODE = _unplaced(
        "VolumeOnOtherNode", "the volume is on another node or in another zone",
        "use a storage class that can move, or ReadWriteMany")
    VOLUME_CLAIM_UNBOUND = _passes(
        "VolumeClaimUnbound", _N, "a claim of the pod has no volume yet", "see the claim if it lasts")
    NODE_COMING = _passes("NodeComing", _N, "the cluster's autoscaler adds a node for the pod")
    SCHEDULER_ERROR = _passes(
        "SchedulerError", _N, "the scheduler failed at the pod, and tries again", "do as the message says if it lasts")
    UNSCHEDULABLE = _unplaced("Unschedulable", "the scheduler places the pod nowhere", "do as the message says")

    # ---- Available, Completed: the image and the container
    IMAGE_PULL_RATE_LIMITED = _passes(
        "ImagePullRateLimited", _I, "the registry limits how often it is asked", "log in, or use a mirror")
    REGISTRY_UNREACHABLE = _passes(
        "RegistryUnreachable", _I, "the node cannot reach the registry", "check network, DNS, proxy and certificate")
    IMAGE_PULL_UNAUTHORIZED = _person(
        "ImagePullUnauthorized", _I, "the registry refuses the image to this node", "give imagePullSecrets")
    IMAGE_NOT_FOUND = _person(
        "ImageNotFound", _I, "the image does not exist, or not for this architecture", "correct spec.engine.image")
    IMAGE_PULL_NO_SPACE = _lasting(
        "ImagePullNoSpace", _I, "the node has no room for the image", "free the node's disk")
    IMAGE_PULL_FAILED = _lasting("ImagePullFailed", _I, "the image cannot be pulled", "correct spec.engine.image")
    INVALID_IMAGE_NAME = _person(
        "InvalidImageName", _I, "the image's name is not a name", "correct spec.engine.image")
    ERR_IMAGE_NEVER_PULL = _person(
        "ErrImageNeverPull", _I, "the image is not on the node, and may not be pulled",
        "load it, or set another pull policy")
    IMAGE_RUNS_AS_ROOT = _person(
        "ImageRunsAsRoot", _I, "the image runs as root, and the pod may not",
        "set runAsUser in spec.podTemplatePatch")
    COMMAND_NOT_IN_IMAGE = _person(
        "CommandNotInImage", _I, "the image lacks the command", "use an image of vLLM")
    CREATE_CONTAINER_CONFIG_ERROR = _person(
        "CreateContainerConfigError", _I, "the container cannot be configured", "do as the message says")
    CREATE_CONTAINER_ERROR = _lasting(
        "CreateContainerError", _I, "the container cannot be created", "do as the message says")
    RUN_CONTAINER_ERROR = _again(
        "RunContainerError", _I, "the container cannot be started", "do as the message says")
    CONTAINER_RUNTIME_FAILED = _passes(
        "ContainerRuntimeFailed", _I, "the node failed at the container, and tries again", "see the node if it lasts")
    CONTAINER_CANNOT_RUN = _person(
        "ContainerCannotRun", _I, "the container's command cannot run", "correct spec.engine.image")
    GPU_RUNTIME_FAILED = _again(
        "GpuRuntimeFailed", _I, "the node's NVIDIA runtime cannot hand over the GPU",
        "check driver and container toolkit on the node")
    VOLUME_IN_USE = _passes(
        "VolumeInUse", _I, "the volume is attached to another node, or another pod has it",
        "use ReadWriteMany for several at once")
    VOLUME_MOUNT_FAILED = _passes(
        "VolumeMountFailed", _I, "a volume cannot be mounted; the kubelet tries again",
        "see the claim and its storage driver if it lasts")
    POD_NETWORK_FAILED = _passes(
        "PodNetworkFailed", _I, "the node cannot set up the pod's network", "check the node's network plugin")

    # ---- Available, Completed: vLLM's own words
    ILLEGAL_TENSOR_PARALLEL_SIZE = _person(
        "IllegalTensorParallelSize", _V, "vLLM cannot split the model like this",
        "choose another spec.engine.tensorParallelSize")
    EXPERT_PARALLEL_ON_DENSE_MODEL = _person(
        "ExpertParallelOnDenseModel", _V, "the model has no experts", "leave spec.engine.enableExpertParallel out")
    NOT_ENOUGH_NUMA_NODES = _person(
        "NotEnoughNumaNodes", _V, "vLLM on CPUs needs a NUMA node for each part", "lower tensorParallelSize")
    KV_CACHE_TOO_SMALL = _person(
        "KvCacheTooSmall", _V, "the KV cache does not hold one sequence of maxModelLen", "lower maxModelLen")
    NO_MEMORY_FOR_KV_CACHE = _person(
        "NoMemoryForKvCache", _V, "the weights leave no memory for the KV cache", "use more or larger GPUs")
    GPU_MEMORY_IN_USE = _passes(
        "GpuMemoryInUse", _V, "something else uses the GPU's memory", "end it, or lower gpuMemoryUtilizationPercent")
    CUDA_OUT_OF_MEMORY = _person(
        "CudaOutOfMemory", _V, "the GPU's memory ran out", "lower maxModelLen, or use more or larger GPUs")
    INVALID_ARGUMENT_VALUE = _person(
        "InvalidArgumentValue", _V, "vLLM refuses the value of an argument", "correct what the message names")
    QUANTIZATION_MISMATCH = _person(
        "QuantizationMismatch", _V, "the checkpoint has another quantization", "leave spec.engine.quantization out")
    ARCHITECTURE_NOT_SUPPORTED = _person(
        "ArchitectureNotSupported", _V, "this version of vLLM does not know the architecture", "use a newer image")
    MODEL_FILES_MISSING = _passes(
        "ModelFilesMissing", _V, "files of the model are missing; the copy is verified again and repaired")
    MODEL_FILES_DAMAGED = _passes(
        "ModelFilesDamaged", _V, "files of the model are damaged; the copy is verified again and repaired")
    POD_IS_OFFLINE = _person(
        "PodIsOffline", _V, "vLLM wants to download something, and the pod is offline",
        "give what is missing in the model's folder")
    MODEL_SCOPE_MISSING = _person(
        "ModelScopeMissing", _V, "the image lacks the modelscope package", "leave VLLM_USE_MODELSCOPE unset")
    GATED_MODEL = _person("GatedModel", _V, "vLLM wants to fetch a model that needs a login", "name a local folder")
    SHARED_MEMORY_TOO_SMALL = _person(
        "SharedMemoryTooSmall", _V, "/dev/shm is too small", "leave the operator's volume in place, or enlarge it")
    NCCL_FAILED = _again("NcclFailed", _V, "the GPUs cannot reach each other", "set NCCL_DEBUG=INFO, read the log")
    DRIVER_TOO_OLD = _person(
        "DriverTooOld", _V, "the node's NVIDIA driver is too old for the image", "update it, or use an older image")
    NO_GPU_IN_CONTAINER = _person(
        "NoGpuInContainer", _V, "the container sees no GPU", "check resourceName and runtimeClassName")
    GPU_FAILED = _again("GpuFailed", _V, "the GPU failed", "drain the node and test the GPU if it comes back")
    TOO_MANY_SEQUENCES = _person(
        "TooManySequences", _V, "the states of so many sequences do not fit beside the weights",
        "lower spec.engine.maxNumSeqs")
    CHECKPOINT_NOT_LOADED = _person(
        "CheckpointNotLoaded", _V, "this version of vLLM does not know the layout of the checkpoint's weights",
        "use a newer image, or another copy of the model")
    KERNEL_NOT_BUILT = _person(
        "KernelNotBuilt", _V, "the image cannot compile a kernel that the model needs",
        "use an image with a compiler, such as vllm/vllm-openai")
    KERNEL_IMAGE_MISSING = _person(
        "KernelImageMissing", _V, "the image has no kernels for this GPU", "use an image built for it")
    SERVICE_LINK_COLLISION = _person(
        "ServiceLinkCollision", _V, "a Service named vllm sets VLLM_PORT in the pod", "rename the Service")
    USER_WITHOUT_NAME = _person(
        "UserWithoutName", _V, "the image has no name for the user that runs it", "set USER and HOME, or runAsUser")
    READ_ONLY_FILE_SYSTEM = _person(
        "ReadOnlyFileSystem", _V, "vLLM wants to write where it may not", "mount an emptyDir there")
    PORT_IN_USE = _person("PortInUse", _V, "the server's port is taken in the pod", "see sidecars and hostNetwork")
    PERMISSION_DENIED = _person(
        "PermissionDenied", _V, "the server may not read or write a file", "make it readable for the server's group")
    ENGINE_NOT_READY_IN_TIME = _person(
        "EngineNotReadyInTime", _V, "the engine was not up within vLLM's own limit",
        "raise VLLM_ENGINE_READY_TIMEOUT_S, or use faster storage")

    # ---- Available: the servers
    AVAILABLE = _well("Available", _U, "every server is ready")
    STARTING = _well("Starting", _U, "servers start or are replaced")
    ADAPTERS_PENDING = _well(
        "AdaptersPending", _U, "servers are ready, and not all of them have said that they have every LoRA adapter")
    ADAPTER_REFUSED = _passes(
        "AdapterRefused", _U, "vLLM does not load a LoRA adapter; it is tried again each minute",
        "read vLLM's words in the message; name another adapter or revision")
    STOPPING = _well("Stopping", _U, "servers end, because spec.replicas is 0")
    STARTUP_PROBE_FAILED = _person(
        "StartupProbeFailed", _U, "the server was not up within its start-up budget",
        "use faster storage if the log shows progress")
    LIVENESS_PROBE_FAILED = _again(
        "LivenessProbeFailed", _U, "the server stopped answering, and was restarted", "read the previous log")
    OUT_OF_HOST_MEMORY = _person(
        "OutOfHostMemory", _U, "the container used more memory than its limit", "raise spec.resources.limits.memory")
    SERVER_FAILED = _again("ServerFailed", _U, "the server ended with an error", "read the previous log")
    ABORTED = _again("Aborted", _U, "the server was aborted, often by CUDA or NCCL", "read the previous log")
    KILLED = _again("Killed", _U, "the server was killed", "read the previous log, and see the node")
    SEGMENTATION_FAULT = _again("SegmentationFault", _U, "the server crashed", "read the previous log")
    TERMINATED = _passes("Terminated", _U, "the server was asked to end, and is started again")
    ANSWERS_WRONG = _person(
        "AnswersWrong", _U, "the engine does not answer as its model, and got no user, or no line of a batch",
        "correct the parser, template or model that the message names; spec.verify.mode Off serves all the same")
    KEYS_UNUSABLE = _person(
        "KeysUnusable", _U, "the server cannot ask its clients for the keys of spec.auth.keys, and so lets nobody in",
        "put a key into the Secret, or read in the message why the middleware is not loaded")
    ROLLED_BACK = _person(
        "RolledBack", _U, "the servers of this spec failed, and those of the spec before serve again",
        "correct what the message names; the next change of the spec is tried anew")
    ENGINE_HUNG = _passes(
        "EngineHung", _U, "the engine stopped answering, and the server is restarted",
        "if it comes again, read the previous log (kubectl logs --previous)")
    ENGINE_DIED = _passes(
        "EngineDied", _U, "the engine process died, and is started again", "read the previous log")
    EVICTED = _passes("Evicted", _U, "the node evicted the pod", "free the node's memory or disk")
    NODE_LOST = _passes("NodeLost", _U, "the pod's node is gone or shutting down", "see the node")
    NODE_REFUSED_POD = _passes("NodeRefusedPod", _U, "the node refused the pod", "check its device plugin")
    DISRUPTED = _passes("Disrupted", _U, "the pod is moved from its node")

    # ---- Routed: spec.service.gateway
    ROUTED = _well("Routed", _G, "the Gateway takes the route")
    ROUTE_PENDING = _passes(
        "RoutePending", _G, "no Gateway has said anything of the route yet",
        "look whether the Gateway of spec.service.gateway.parentRef is there, and whether its controller runs")
    ROUTE_NOT_ACCEPTED = _note(
        "RouteNotAccepted", _G, "the Gateway does not take the route",
        "do as its words in the message say: correct spec.service.gateway, or allowedRoutes of its listener")
    ROUTE_NOT_RESOLVED = _note(
        "RouteNotResolved", _G, "the Gateway does not find what the route leads to",
        "do as its words in the message say")
    GATEWAY_NOT_ENABLED = _note(
        "GatewayNotEnabled", _G, "the operator makes no routes",
        "install its chart with gateway.enabled=true, or take spec.service.gateway away")
    GATEWAY_API_MISSING = _note(
        "GatewayApiMissing", _G, "the API server does not serve HTTPRoutes",
        "install the CRDs of the Gateway API (standard channel, 1.2 or newer): they are seen within a minute")
    ENDPOINT_PICKER_NOT_ENABLED = _note(
        "EndpointPickerNotEnabled", _G, "the operator makes no InferencePools: the route leads to the Service",
        "install its chart with gateway.endpointPicker=true, or take spec.service.gateway.endpointPicker away")
    INFERENCE_EXTENSION_MISSING = _note(
        "InferenceExtensionMissing", _G, "the API server does not serve InferencePools: the route leads to the Service",
        "install the CRDs of the Gateway API Inference Extension (1.0 or newer): they are seen within a minute")
    INFERENCE_POOL_NOT_ACCEPTED = _note(
        "InferencePoolNotAccepted", _G, "the Gateway does not take the InferencePool, or does not find the picker",
        "do as its words in the message say: is the Service of spec.service.gateway.endpointPicker there?")

    # ---- Completed: the batch
    RUNNING = _well("Running", _B, "lines are answered")
    QUEUED = _well("Queued", _B, "the Job waits in its queue")
    PINNED = _well("Pinned", _B, "the Job keeps the copy of the model that it was made with")
    FIXED_IN_JOB = _note(
        "FixedInJob", _B, "the field cannot change in a Job that runs",
        "take the field back, or make another Qwen3Batch")
    GOES_ON_MEANWHILE = _note(
        "GoesOnMeanwhile", _B, "the Job of the spec before goes on until its successor can be made", "wait")
    NOT_MERGED = _person("NotMerged", _B, "no shard has put the parts together", "delete the Job: the next one does")
    DEADLINE_EXCEEDED = _person(
        "DeadlineExceeded", _B, "spec.activeDeadlineSeconds are over",
        "delete the Qwen3Batch and apply it again with more of them: finished lines are kept")
    JOB_FAILED = _person("JobFailed", _B, "the Job failed", "do as the message says")
    BACKOFF_LIMIT_EXCEEDED = _person(
        "BackoffLimitExceeded", _B, "more pods failed than spec.backoffLimit allows", "read the pods' logs")
    FAILED_INDEXES = _person("FailedIndexes", _B, "shards were given up", "read their pods' logs")
    MAX_FAILED_INDEXES_EXCEEDED = _person(
        "MaxFailedIndexesExceeded", _B, "too many shards were given up", "read their pods' logs")
    POD_FAILURE_POLICY = _person(
        "PodFailurePolicy", _B, "a pod failed in a way that another try does not mend", "do as the message says")
    POD_FAILED = _person("PodFailed", _B, "a pod ended without a word", "read its log")
    RUNNER_FAILED = _person("RunnerFailed", _B, "the batch runner failed", "read the pod's log")
    ENGINE_STALLED = _passes(
        "EngineStalled", _B, "the engine owed answers and made no token for spec.stallSeconds, and is started again",
        "read the previous log")
    SERVER_NOT_REACHABLE = _passes(
        "ServerNotReachable", _B, "no server of the Qwen3Deployment answers", "see its conditions")
    SERVERS_SUSPENDED = _passes(
        "ServersSuspended", _B, "the Qwen3Deployment whose servers are to answer is suspended; the lines wait",
        "set its spec.suspend to false")
    SERVERS_SCALED_TO_ZERO = _passes(
        "ServersScaledToZero", _B, "the Qwen3Deployment whose servers are to answer has none; the lines wait",
        "raise its spec.replicas")
    SERVERS_NOT_READY = _passes(
        "ServersNotReady", _B, "no server of the Qwen3Deployment is ready; the lines wait", "see its conditions")
    KEY_REFUSED = _person(
        "KeyRefused", _B, "the servers refuse the key of the batch",
        "correct spec.apiKeySecretRef, or restart servers with auth.apiKeySecretRef after a change of its Secret")
    KEY_MISSING = _person(
        "KeyMissing", _B, "the servers ask each team for its key, and the batch names none",
        "name one in spec.apiKeySecretRef")
    ENGINE_START_FAILED = _person("EngineStartFailed", _B, "vLLM's engine does not start", "read the pod's log")
    ENGINE_ARGUMENTS_REFUSED = _person(
        "EngineArgumentsRefused", _B, "vLLM refuses its arguments", "read the pod's log, correct spec.engine")
    INPUT_NOT_FOUND = _person(
        "InputNotFound", _B, "the input is not on the volume", "put it there, or correct the path")
    INPUT_NOT_READABLE = _person("InputNotReadable", _B, "the input cannot be read", "correct its permissions")
    INPUT_EMPTY = _person("InputEmpty", _B, "the input has no line", "give another input")
    INPUT_CHANGED = _person(
        "InputChanged", _B, "the input is not the one that was begun with",
        "name another output, or remove the folder with the parts")
    OUTPUT_EXISTS = _person("OutputExists", _B, "the output is there already", "move it, or name another path")
    OUTPUT_IN_USE = _person("OutputInUse", _B, "another batch has or reads the output", "name another path")
    OUTPUT_OF_OTHER_SETTINGS = _person(
        "OutputOfOtherSettings", _B, "the parts are of other settings",
        "name another output, or remove the folder with the parts")
    OUTPUT_FULL = _person("OutputFull", _B, "the output's volume is full", "enlarge it")
    OUTPUT_NOT_WRITABLE = _person(
        "OutputNotWritable", _B, "the output cannot be written", "correct its permissions")
    SHARD_IN_USE = _passes("ShardInUse", _B, "another pod still writes the shard")
    PART_INCOMPLETE = _person(
        "PartIncomplete", _B, "a part lacks lines though its shard is done", "delete the Job: the next one writes them")
    # fmt: on
