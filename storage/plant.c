// SPDX-License-Identifier: Apache-2.0
#include "storage/plant.h"

#ifdef WEIR_PLANTS
enum plant plant_active = PLANT_NONE;
#endif
