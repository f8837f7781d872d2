from .adapt import AdaptOptions as AdaptOptions
from .adapt import adapt as adapt
from .adapt import plan_adaptation as plan_adaptation
from .plan import AdaptPlan as AdaptPlan
from .verdict import Verdict as Verdict
