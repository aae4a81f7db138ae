/* The functions of the preloaded object for JavaScript, through Node's stable C interface. What is used of it is
 * declared here, so that nothing of Node is needed to build; the names are Node's own, from version 8 on. */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct napi_env__ *napi_env;
typedef struct napi_value__ *napi_value;
typedef struct napi_callback_info__ *napi_callback_info;
typedef napi_value (*napi_callback)(napi_env, napi_callback_info);

extern int napi_get_cb_info(napi_env, napi_callback_info, size_t *, napi_value *, napi_value *, void **);
extern int napi_get_value_string_utf8(napi_env, napi_value, char *, size_t, size_t *);
extern int napi_create_string_utf8(napi_env, const char *, size_t, napi_value *);
extern int napi_create_function(napi_env, const char *, size_t, napi_callback, void *, napi_value *);
extern int napi_set_named_property(napi_env, napi_value, const char *, napi_value);

/* Null where memento is not loaded. */
#pragma weak memento_invocation_end
#pragma weak memento_stats_json
#pragma weak memento_node_stats_json
extern void memento_invocation_end(void);
extern size_t memento_stats_json(char *, size_t);
extern size_t memento_node_stats_json(char *, size_t);

static napi_value invocation_end(napi_env env, napi_callback_info info) {
  (void)env;
  (void)info;
  if (memento_invocation_end) memento_invocation_end();
  return NULL;
}

/* The document of a name; undefined without memento. */
static napi_value document(napi_env env, napi_callback_info info) {
  char name[64];
  size_t arguments = 1, length;
  napi_value argument, result = NULL;
  if (napi_get_cb_info(env, info, &arguments, &argument, NULL, NULL) || arguments < 1) return NULL;
  if (napi_get_value_string_utf8(env, argument, name, sizeof name, &length)) return NULL;
  size_t (*write)(char *, size_t) = NULL;
  if (!strcmp(name, "memento_stats_json")) write = memento_stats_json;
  if (!strcmp(name, "memento_node_stats_json")) write = memento_node_stats_json;
  if (!write) return NULL;
  /* Room for what the buffer itself adds. */
  size_t room = write(NULL, 0) + 4096;
  char *text = malloc(room);
  if (text && (length = write(text, room)) < room) napi_create_string_utf8(env, text, length, &result);
  free(text);
  return result;
}

static void offer(napi_env env, napi_value exports, const char *name, napi_callback function) {
  napi_value made;
  if (!napi_create_function(env, name, strlen(name), function, NULL, &made))
    napi_set_named_property(env, exports, name, made);
}

__attribute__((visibility("default"))) napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  offer(env, exports, "invocationEnd", invocation_end);
  offer(env, exports, "document", document);
  return exports;
}
