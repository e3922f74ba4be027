# Read only when pip builds: finds the prefix into which pip put the ros-* wheels, and mends what those carry from the
# machine they were made on.
set(Python3_EXECUTABLE "${Python_EXECUTABLE}" CACHE FILEPATH "" FORCE)
execute_process(
  COMMAND "${Python3_EXECUTABLE}" -c
          "import pathlib, ament_package; print(pathlib.Path(ament_package.__file__).resolve().parents[4])"
  OUTPUT_VARIABLE ros_wheels_prefix OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
message(STATUS "ros-* wheels found under ${ros_wheels_prefix}")
list(PREPEND CMAKE_PREFIX_PATH "${ros_wheels_prefix}")
set(ENV{AMENT_PREFIX_PATH} "${ros_wheels_prefix}")

# Drops include folders that do not exist here from the imported targets of the calling directory.
function(ros_wheels_drop_dead_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders)
      set(alive "")
      foreach(folder IN LISTS folders)
        if(folder MATCHES "[$]<" OR EXISTS "${folder}")
          list(APPEND alive "${folder}")
        endif()
      endforeach()
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${alive}")
    endif()
  endforeach()
endfunction()

# Imported targets belong to the directory that found them: each directory that finds some calls this.
function(ros_wheels_mend_targets)
  cmake_language(DEFER DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" CALL ros_wheels_drop_dead_includes)
endfunction()
