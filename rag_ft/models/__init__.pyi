from .compute import ComputePlan as ComputePlan
from .compute import compute_plan as compute_plan
from .cross_encoder import CrossEncoder as CrossEncoder
from .loading import LoadedModel as LoadedModel
from .loading import load_model as load_model
