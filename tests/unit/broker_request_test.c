// SPDX-License-Identifier: Apache-2.0
#include "broker/request.h"

#include <criterion/criterion.h>

#include "gen/kp_apis.h"
#include "gen/kp_produce.h"

Test(broker, registry_agrees_with_the_schemas)
{
    size_t count;
    const struct api *apis = registry_all(&count);
    cr_assert_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        const struct api *api = &apis[i];
        if (i > 0)
            cr_assert_lt(apis[i - 1].key, api->key);
        cr_assert_eq(registry_find(api->key), api);
        const struct kp_api *schema = kp_api_find(api->key);
        cr_assert_not_null(schema);
        cr_assert_str_eq(schema->name, api->name);
        cr_assert_geq(api->min_version, schema->min);
        cr_assert_leq(api->max_version, schema->max);
        cr_assert_eq(api->flexible_version, schema->flexible_from);
        cr_assert_not_null((void *)api->handle);
        cr_assert_leq(api->advertised_min, api->min_version);
    }
}

Test(broker, registry_finds_nothing_else)
{
    size_t count;
    registry_all(&count);
    size_t found = 0;
    for (int32_t key = INT16_MIN; key <= INT16_MAX; key++)
        found += registry_find((int16_t)key) != NULL;
    cr_assert_eq(found, count);
}

// librdkafka up to 2.11.0 does not compress otherwise.
Test(broker, produce_is_advertised_from_version_0)
{
    cr_assert_eq(registry_find(KP_PRODUCE_KEY)->advertised_min, 0);
    cr_assert_eq(registry_find(KP_PRODUCE_KEY)->min_version, 3);
}
