from .average import average_adapters as average_adapters
from .calibrate import calibrate_adapter as calibrate_adapter
from .compare import compare_adapters as compare_adapters
from .export import export_adapter as export_adapter
from .info import adapter_info as adapter_info
from .merge import merge_adapter as merge_adapter
