from .evaluate import evaluate as evaluate
from .evaluate import evaluate_recipe as evaluate_recipe
from .recipe import Recipe as Recipe
from .recipe import read_recipe as read_recipe
from .report.pages import Report as Report
