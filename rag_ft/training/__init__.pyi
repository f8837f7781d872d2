from .curve import TrainedCurve as TrainedCurve
from .curve import train_curve as train_curve
from .data.examples import ExampleConfig as ExampleConfig
from .lora import AdapterConfig as AdapterConfig
from .lora import lora_plan as lora_plan
from .run import TrainedAdapter as TrainedAdapter
from .run import train_reader as train_reader
from .steps.config import TrainConfig as TrainConfig
