"""Networks whose parameters carry a leading replicate axis R: draw R replicates and run them side by side."""

from lthkit.networks.base import Network
from lthkit.networks.conv import Conv, conv_2, conv_4, conv_6
from lthkit.networks.dense import Dense, lenet_300_100
from lthkit.networks.modules import ModuleNetwork, from_module

__all__ = ["Conv", "Dense", "ModuleNetwork", "Network", "conv_2", "conv_4", "conv_6", "from_module", "lenet_300_100"]
