#include "training.h"

hps_status hps_boosting_train(hps_ensemble_training *t)
{
    return hps_agree(t->world, hps_fail(HPS_EINTERNAL, "not yet"));
}
