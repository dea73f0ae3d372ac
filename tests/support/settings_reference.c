/*
 * Prints the reference of all settings (Markdown), made from the schema table: how docs/settings.md is made
 * (build target settings_reference) and what the test compares it with.
 */
#include "core/config.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *text = config_reference();
    bool written = text && fputs(text, stdout) >= 0 && fflush(stdout) == 0;
    free(text);
    return written ? EXIT_SUCCESS : EXIT_FAILURE;
}
